"""Counts are those of o200k: the same ranks, the same pattern, and the counts tiktoken's authors publish."""

import gzip
import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiktoken_ext import openai_public  # type: ignore[import-untyped]  # it has no types

from message_service.context.tokens import TokenCounter

COUNTER = TokenCounter()


@pytest.fixture
def definition(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Tiktoken's own definition of o200k_base, without the download it would begin with."""
    asked: dict[str, Any] = {}

    def without_download(_: str, expected_hash: str) -> dict[bytes, int]:
        asked["expected_hash"] = expected_hash
        return {}

    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", without_download)
    own: dict[str, Any] = openai_public.o200k_base()
    return own | asked


def test_pattern_is_tiktokens_own(definition: dict[str, Any]) -> None:
    assert COUNTER._encoding._pat_str == definition["pat_str"]


def test_ranks_are_those_tiktoken_would_download(definition: dict[str, Any]) -> None:
    package = find_spec("bpe_openai")
    assert package is not None
    assert package.origin is not None
    ranks = gzip.decompress((Path(package.origin).parent / "data" / "o200k_base.tiktoken.gz").read_bytes())
    assert hashlib.sha256(ranks).hexdigest() == definition["expected_hash"]


# The first four: OpenAI Cookbook, "How to count tokens with tiktoken", column o200k_base.
@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("tiktoken is great!", 6),
        ("antidisestablishmentarianism", 6),
        ("2 + 2 = 4", 7),
        ("お誕生日おめでとう", 8),
        ("", 0),
        ("a", 1),
        ("123456789", 3),  # digits go by threes
        ("1234567890", 4),
    ],
)
def test_count_is_the_known_one(text: str, tokens: int) -> None:
    assert COUNTER.count(text) == tokens


@pytest.mark.parametrize("text", ["<|endoftext|>", "<|endofprompt|>", "<|im_start|>system"])
def test_special_token_counts_as_plain_text_when_a_user_writes_one(text: str) -> None:
    assert COUNTER.count(text) > 1
    assert COUNTER.count(f"a {text} b") > COUNTER.count("a  b")


@given(st.text())
def test_count_is_between_one_and_the_bytes_when_there_is_any_text(text: str) -> None:
    assert min(1, len(text)) <= COUNTER.count(text) <= len(text.encode())


@pytest.mark.parametrize("characters", [3_999, 4_000, 4_001, 50_000])
async def test_count_is_the_same_when_it_is_made_beside_the_loop(characters: int) -> None:
    text = ("The quick brown fox, 12345! " * 2_000)[:characters]
    assert await COUNTER.count_beside(text) == COUNTER.count(text)
