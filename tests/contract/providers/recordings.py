"""What `record_llama.py` recorded, and what it means by the plainest reading there is."""

import json
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).with_name("recordings")
PROMPTS = ("short", "stopped", "multibyte", "context_end")
DIALECTS = ("chat", "responses", "messages")
STREAMS = tuple(f"{dialect}_{prompt}" for dialect in DIALECTS for prompt in PROMPTS)
END_MARKERS = {
    "chat": b'"finish_reason":"',
    "responses": b"event: response.completed",
    "messages": b"event: message_stop",
}


def dialect_of(name: str) -> str:
    return name.partition("_")[0]


def end_marker_ends(name: str, sent: bytes) -> int:
    """Where in `sent` the event is whole that makes the recorded stream a reply."""
    return sent.index(b"\n\n", sent.index(END_MARKERS[dialect_of(name)])) + 2


def recording(name: str) -> bytes:
    """The bytes of one answer as they came off the wire."""
    return Path(RECORDINGS, f"{name}.http").read_bytes()


def stream_body(name: str) -> bytes:
    """The body of a recorded stream, out of its HTTP chunks."""
    rest = recording(name).partition(b"\r\n\r\n")[2]
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return body


def chunks(name: str) -> list[dict[str, Any]]:
    """The JSON of each event, read line by line."""
    lines = stream_body(name).decode().split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def text_of(name: str) -> str:
    """The reply's whole text."""
    match dialect_of(name):
        case "chat":
            deltas = [choice["delta"].get("content") for chunk in chunks(name) for choice in chunk["choices"]]
        case "responses":
            deltas = [chunk.get("delta") for chunk in chunks(name)]
        case _:
            deltas = [chunk["delta"].get("text") for chunk in chunks(name) if "delta" in chunk]
    return "".join(delta or "" for delta in deltas)


def counts_of(name: str) -> tuple[int, int, int]:
    """Input, output and cached tokens, as the last report has them."""
    match dialect_of(name):
        case "chat":
            usage = chunks(name)[-1]["usage"]
            return usage["prompt_tokens"], usage["completion_tokens"], usage["prompt_tokens_details"]["cached_tokens"]
        case "responses":
            usage = chunks(name)[-1]["response"]["usage"]
            return usage["input_tokens"], usage["output_tokens"], usage["input_tokens_details"]["cached_tokens"]
        case _:
            first, last = chunks(name)[0]["message"]["usage"], chunks(name)[-2]["usage"]
            cached = first["cache_read_input_tokens"]
            return first["input_tokens"] + cached, last["output_tokens"], cached
