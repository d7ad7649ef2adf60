"""Writes a tiny language model of random weights, so that a real llama.cpp server can run on any machine.

    python tiny_gguf.py tiny.gguf [context_tokens]

Llama architecture, two layers, about 1 MB; it answers at once, with nonsense that is the same for the same seed.
"""

import random
import struct
import sys
from array import array
from pathlib import Path

# https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
GGUF_VERSION = 3
ALIGNMENT_BYTES = 32
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
TENSOR_F32 = 0
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6

EMBEDDING, LAYERS, HEADS, FEED_FORWARD = 64, 2, 4, 128
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Text of one to four bytes a character, so that streams hold what a careless reader would cut in two.
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?-'äöüßéèñçøåłžабвгдежзиклмнопрстуф"
SYLLABLES = [onset + vowel for onset in "bdfgklmnprstvw" for vowel in ("a", "e", "i", "o", "u", "ai", "ou")]
IDEOGRAPHS = "日本語中文字山川水火木金土人口目耳手足心気天空雨雪花鳥風月星夜朝春夏秋冬"
EMOJI = "😀😂🥰😎🤖🎉🌍🚀🐙🦊🍕🎸"


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(kind: int, value: object) -> bytes:
    if isinstance(value, str):
        return _string(value)
    return struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}[kind], value)


def _pair(key: str, kind: int, value: object) -> bytes:
    if isinstance(value, list):
        content = struct.pack("<IQ", kind, len(value)) + b"".join(_value(kind, item) for item in value)
        return _string(key) + struct.pack("<I", ARRAY) + content
    return _string(key) + struct.pack("<I", kind) + _value(kind, value)


def _vocabulary() -> list[tuple[str, float, int]]:
    """Tokens with their scores and types, for a SentencePiece tokenizer with byte fallback."""
    special = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
    special += [("<|im_start|>", 0.0, CONTROL), ("<|im_end|>", 0.0, CONTROL)]
    raw_bytes = [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    pieces = ["\u2581", *LETTERS, *IDEOGRAPHS, *EMOJI, *SYLLABLES, *(f"\u2581{piece}" for piece in SYLLABLES)]
    return special + raw_bytes + [(piece, -float(rank), NORMAL) for rank, piece in enumerate(pieces)]


def _metadata(context_tokens: int, vocabulary: list[tuple[str, float, int]]) -> list[bytes]:
    tokens, scores, kinds = (list(column) for column in zip(*vocabulary, strict=True))
    return [
        _pair("general.architecture", STRING, "llama"),
        _pair("general.name", STRING, "tiny"),
        _pair("llama.context_length", UINT32, context_tokens),
        _pair("llama.embedding_length", UINT32, EMBEDDING),
        _pair("llama.block_count", UINT32, LAYERS),
        _pair("llama.feed_forward_length", UINT32, FEED_FORWARD),
        _pair("llama.attention.head_count", UINT32, HEADS),
        _pair("llama.attention.head_count_kv", UINT32, HEADS),
        _pair("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5),
        _pair("llama.rope.dimension_count", UINT32, EMBEDDING // HEADS),
        _pair("llama.vocab_size", UINT32, len(vocabulary)),
        _pair("tokenizer.ggml.model", STRING, "llama"),
        _pair("tokenizer.ggml.tokens", STRING, tokens),
        _pair("tokenizer.ggml.scores", FLOAT32, scores),
        _pair("tokenizer.ggml.token_type", INT32, kinds),
        _pair("tokenizer.ggml.unknown_token_id", UINT32, 0),
        _pair("tokenizer.ggml.bos_token_id", UINT32, 1),
        _pair("tokenizer.ggml.eos_token_id", UINT32, 4),
        _pair("tokenizer.ggml.add_space_prefix", BOOL, False),
        _pair("tokenizer.chat_template", STRING, CHAT_TEMPLATE),
    ]


def _tensors(vocabulary_size: int) -> list[tuple[str, tuple[int, ...]]]:
    """Names and shapes, the fastest-changing dimension first."""
    tensors: list[tuple[str, tuple[int, ...]]] = [
        ("token_embd.weight", (EMBEDDING, vocabulary_size)),
        ("output_norm.weight", (EMBEDDING,)),
        ("output.weight", (EMBEDDING, vocabulary_size)),
    ]
    for layer in range(LAYERS):
        tensors += [(f"blk.{layer}.{norm}.weight", (EMBEDDING,)) for norm in ("attn_norm", "ffn_norm")]
        tensors += [
            (f"blk.{layer}.{name}.weight", (EMBEDDING, EMBEDDING))
            for name in ("attn_q", "attn_k", "attn_v", "attn_output")
        ]
        tensors += [(f"blk.{layer}.{name}.weight", (EMBEDDING, FEED_FORWARD)) for name in ("ffn_gate", "ffn_up")]
        tensors.append((f"blk.{layer}.ffn_down.weight", (FEED_FORWARD, EMBEDDING)))
    return tensors


def _weights(name: str, shape: tuple[int, ...], dice: random.Random) -> bytes:
    count = shape[0] * (shape[1] if len(shape) > 1 else 1)
    if name.endswith("norm.weight"):
        return array("f", [1.0] * count).tobytes()
    return array("f", (dice.gauss(0, 0.2) for _ in range(count))).tobytes()


def _padding(size: int) -> bytes:
    return b"\0" * (-size % ALIGNMENT_BYTES)


def tiny_gguf(context_tokens: int = 32_768) -> bytes:
    """The file's bytes; the same each time."""
    vocabulary = _vocabulary()
    metadata = _metadata(context_tokens, vocabulary)
    tensors = _tensors(len(vocabulary))
    dice = random.Random(7)
    directory = b""
    content = bytearray()
    for name, shape in tensors:
        directory += _string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, TENSOR_F32, len(content))
        content += _weights(name, shape, dice)
        content += _padding(len(content))
    head = b"GGUF" + struct.pack("<IQQ", GGUF_VERSION, len(tensors), len(metadata)) + b"".join(metadata) + directory
    return head + _padding(len(head)) + bytes(content)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(tiny_gguf(*map(int, sys.argv[2:3])))
