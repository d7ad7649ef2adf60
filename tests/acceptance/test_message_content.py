"""What may be in a message: bounds counted in characters after sanitising, and text kept to the letter."""

from typing import Any

import pytest

from tests.acceptance.expectations import expect_faults, expect_problem
from tests.fixtures.client import Client
from tests.fixtures.service import Service

_ASTRAL = "\N{GRINNING FACE}"


@pytest.fixture
def caller(service: Service) -> Client:
    return service.client()


def _message(**fields: object) -> dict[str, Any]:
    return {"conversation_id": "conv-1", "content": "Hello!", **fields}


async def test_metadata_is_kept_when_it_is_at_its_bounds(caller: Client) -> None:
    full = {f"{number:02}" + "k" * 62: "v" * 512 for number in range(16)}
    assert (await caller.store("x", metadata=full))["metadata"] == full
    astral = {_ASTRAL * 64: _ASTRAL * 512, "$where": "1", "a.b": "", "\u00e9": "\u00fc"}
    assert (await caller.store("x", metadata=astral))["metadata"] == astral


@pytest.mark.parametrize(
    ("metadata", "pointer"),
    [
        ({str(number): "v" for number in range(17)}, "/metadata"),
        ({"k" * 65: "v"}, f"/metadata/{'k' * 65}"),
        ({"k": "v" * 513}, "/metadata/k"),
        ({"": "v"}, "/metadata/"),
    ],
    ids=["17 pairs", "65 characters of key", "513 characters of value", "no key"],
)
async def test_metadata_is_refused_when_it_is_past_a_bound(
    caller: Client, metadata: dict[str, str], pointer: str
) -> None:
    expect_faults(await caller.post("/v1/messages", _message(metadata=metadata)), pointer)


@pytest.mark.parametrize(
    "metadata",
    [{"\x00": "v"}, {"a\x00": "1", "a": "2"}, {"\u0958" * 64: "v"}, {"k": "\u0958" * 512}],
    ids=["nothing left of the key", "two keys become one", "key grows", "value grows"],
)
async def test_metadata_is_refused_when_it_is_past_a_bound_once_sanitised(
    caller: Client, metadata: dict[str, str]
) -> None:
    expect_faults(await caller.post("/v1/messages", _message(metadata=metadata)), "/metadata")
    assert (await caller.store("x", metadata={"a\x00": "1\x07"}))["metadata"] == {"a": "1"}


@pytest.mark.parametrize("character", ["x", "\u00fc", _ASTRAL], ids=["ascii", "two bytes", "astral"])
async def test_content_of_50_000_characters_is_the_longest_when_posted(caller: Client, character: str) -> None:
    message = await caller.store(character * 50_000)
    assert message["content"] == character * 50_000
    refused = await caller.post("/v1/messages", _message(content=character * 50_001))
    problem = expect_problem(refused, 413, "content_too_long")
    assert "50,001" in problem["detail"]
    assert (await caller.page())["data"] == [message]


async def test_what_is_removed_is_not_counted_when_content_is_measured(caller: Client) -> None:
    noise = "\x00\x07\x1b\ufffe"
    message = await caller.store(noise + "x" * 25_000 + noise * 200 + "y" * 25_000 + "\x7f")
    assert message["content"] == "x" * 25_000 + "y" * 25_000
    # A letter and its accent become one character; a return and its line feed become one line feed.
    assert (await caller.store("e\u0301" * 50_000))["content"] == "\u00e9" * 50_000
    assert (await caller.store("x\r\n" * 25_000))["content"] == "x\n" * 25_000


async def test_ordinary_text_is_kept_to_the_letter_when_it_looks_strange(caller: Client) -> None:
    text = (
        "  if a<b and c>d: // <b>x</b> & \\u0041\n\ttab  \N{FAMILY}\N{ZERO WIDTH JOINER}"
        "\N{HEAVY BLACK HEART}\ufe0f \u0627\u0644\u200f\u202b \U0001f469\u200d\U0001f680  "
    )
    assert (await caller.store(text))["content"] == text


@pytest.mark.parametrize(
    "content", ["", " ", "\n\t \r\n", "\x00\x01", "\u00a0\u2003\u3000", "\u200b\u200d\ufeff", "\u2028"]
)
async def test_content_is_refused_when_there_is_nothing_to_read(caller: Client, content: str) -> None:
    expect_faults(await caller.post("/v1/messages", _message(content=content)), "/content")


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (rb"caf\u00e9 \ud83d", "caf\u00e9 "),
        (rb"\ude00 left over", " left over"),
        (rb"\ud83d\ude00 whole \ud83d", f"{_ASTRAL} whole "),
        (rb"\uD83Dx\uDE00", "x"),
        (rb"\\ud83d", "\\ud83d"),
    ],
)
async def test_half_a_surrogate_pair_is_dropped_when_json_escapes_it(caller: Client, written: bytes, kept: str) -> None:
    body = b'{"conversation_id": "conv-1", "content": "' + written + b'"}'
    answer = await caller.post("/v1/messages", body=body, headers={"Content-Type": "application/json"})
    assert answer.status == 201, answer.body
    assert answer.json["message"]["content"] == kept


async def test_content_is_refused_when_it_is_half_a_surrogate_pair_alone(caller: Client) -> None:
    body = rb'{"conversation_id": "conv-1", "content": "\ud83d"}'
    expect_faults(
        await caller.post("/v1/messages", body=body, headers={"Content-Type": "application/json"}), "/content"
    )


async def test_fields_are_checked_as_ever_when_a_half_pair_was_dropped_from_the_body(caller: Client) -> None:
    body = rb'{"conversation_id": "conv-1", "content": "x\ud83d", "colour": 1}'
    expect_faults(await caller.post("/v1/messages", body=body, headers={"Content-Type": "application/json"}), "/colour")
