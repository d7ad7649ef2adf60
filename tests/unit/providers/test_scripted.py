"""The scripted provider: what it writes, how fast, and how it fails."""

import asyncio
import re
from typing import Any

import pytest

from message_service.errors import (
    EmptyResponse,
    ProviderConnectFailed,
    ProviderOverloaded,
    ProviderRateLimited,
    StreamCut,
)
from message_service.messages.message import Role
from message_service.messages.reply import FinishReason, Usage
from message_service.providers.provider import Finished, Prompt, Started, TextDelta, Turn, UsageReported
from message_service.providers.scripted import ScriptedProvider
from tests.contract.providers.reading import Reading, assert_in_contract, prompt, read

PROVIDER = ScriptedProvider(tokens_per_second=100_000)


async def _read(message: str, **more: Any) -> Reading:
    reading = await read(PROVIDER.stream(prompt(message, **more)))
    assert_in_contract(reading)
    return reading


async def _ended(message: str, **more: Any) -> Reading:
    reading = await _read(message, **more)
    assert reading.error is None
    return reading


async def test_small_talk_takes_up_the_words_when_nothing_is_scripted() -> None:
    reading = await _ended("Do you like old maps?", instructions="You are Mira, who sells books.")
    assert "Do you like old maps?" in reading.text
    assert reading.text.count("\n\n") <= 3
    assert reading.finished == Finished(FinishReason.STOP)


async def test_text_is_the_same_when_the_prompt_is_the_same() -> None:
    assert (await _ended("Tell me more")).events == (await _ended("Tell me more")).events
    talks = {re.sub(r"Tell me [0-9]+", "", (await _ended(f"Tell me {number}")).text) for number in range(40)}
    assert len(talks) > 10


@pytest.mark.parametrize("message", ["", "  \n ", "x" * 50_000, "\u65e5\u672c\u8a9e" * 5000, "{who} {words} %s"])
async def test_small_talk_is_short_when_the_message_is_strange(message: str) -> None:
    assert len((await _ended(message)).text) < 1200


async def test_reply_is_exactly_the_text_when_it_is_given_word_for_word() -> None:
    text = "One,\n\ttwo  \u65e5\u672c\u8a9e\u65e5\u672c\u8a9e\u65e5\u672c\u8a9e\u65e5\u672c\u8a9e \U0001f680 end"
    assert (await _ended(f"/script\n{text}")).text == text


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ('/script say="a b c" tokens=7', "a b c a b c a"),
        ('/script say="a b c" tokens=2', "a b"),
        ('/script say="a b" repeat=3', "a b a b a b"),
    ],
)
async def test_text_is_cut_or_begun_again_when_a_length_is_asked_for(message: str, text: str) -> None:
    assert (await _ended(message)).text == text


async def test_reply_ends_by_length_when_it_would_be_longer_than_allowed() -> None:
    reading = await _ended("/script tokens=40", max_output_tokens=12)
    assert len(reading.deltas) == 12
    assert reading.events[-2:] == [UsageReported(Usage(20, 12)), Finished(FinishReason.LENGTH)]


@pytest.mark.parametrize("message", ["/script tokens=3", '/script say="a b c"'])
async def test_reply_ends_by_itself_when_it_is_exactly_as_long_as_allowed(message: str) -> None:
    assert (await _ended(message, max_output_tokens=3)).finished == Finished(FinishReason.STOP)


async def test_reply_ends_before_a_stop_sequence_when_one_is_met() -> None:
    reading = await _ended('/script say="one two three four" finish=length', stop=("ur", "o th", ""))
    assert reading.text == "one tw"
    assert reading.events[-2:] == [UsageReported(Usage(20, 2)), Finished(FinishReason.STOP)]


async def test_end_is_as_scripted_when_the_text_was_not_cut() -> None:
    reading = await _ended("/script tokens=3 finish=content_filter")
    assert reading.finished == Finished(FinishReason.CONTENT_FILTER)


async def test_reply_explains_what_is_wrong_when_the_directive_is_bad() -> None:
    assert "tokens takes a whole number" in (await _ended("/script tokens=many")).text


async def test_failure_comes_after_the_words_when_it_is_scripted_inside() -> None:
    reading = await _read("/script tokens=40 fail=overloaded@10")
    assert type(reading.error) is ProviderOverloaded
    assert len(reading.deltas) == 10
    assert not any(isinstance(event, UsageReported) for event in reading.events)


async def test_failure_comes_before_the_end_when_the_text_is_shorter() -> None:
    reading = await _read('/script say="a b" fail=cut@10')
    assert type(reading.error) is StreamCut
    assert reading.deltas == ["a", " b"]


async def test_prompt_is_refused_before_anything_when_the_failure_has_no_place() -> None:
    reading = await _read("/script fail=rate_limited retry_after=2.5")
    assert type(reading.error) is ProviderRateLimited
    assert (reading.events, reading.error.retry_after_seconds, reading.error.provider) == ([], 2.5, "scripted")


async def test_reply_starts_and_is_empty_when_it_fails_after_no_words() -> None:
    reading = await _read("/script fail=empty@0")
    assert type(reading.error) is EmptyResponse
    assert reading.events == [Started("scripted", "scripted")]


async def test_later_attempt_succeeds_when_only_the_first_ones_are_to_fail() -> None:
    message = "/script tokens=3 fail=unreachable attempts=2"
    for attempt in (1, 2):
        assert type((await _read(message, attempt=attempt)).error) is ProviderConnectFailed
    assert len((await _ended(message, attempt=3)).deltas) == 3


async def test_stall_lasts_until_the_caller_gives_up_when_one_is_scripted() -> None:
    stream = PROVIDER.stream(prompt("/script tokens=40 fail=stall@2"))
    assert [type(await anext(stream)) for _ in range(3)] == [Started, TextDelta, TextDelta]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stream), 0.05)


async def test_words_keep_their_schedule_when_the_reader_is_slow_at_first() -> None:
    clock = asyncio.get_running_loop().time
    started = clock()
    arrivals: list[float] = []
    async for event in ScriptedProvider(tokens_per_second=1).stream(prompt("/script tokens=80 rate=100 first=0.1")):
        if isinstance(event, TextDelta):
            if not arrivals:
                await asyncio.sleep(0.6)
            arrivals.append(clock() - started)
    # The 80th word is due at 0.1 + 79 / 100 s. Were each wait counted from the word before, it would be 0.6 s later.
    assert arrivals[0] >= 0.1
    assert 0.89 <= arrivals[-1] < 0.89 + 0.5


async def test_caller_is_warned_when_something_of_the_prompt_is_dropped() -> None:
    asked = Prompt(
        instructions=None,
        turns=(Turn(Role.USER, "Hi"),),
        prompt_tokens=1,
        max_output_tokens=10,
        model="gpt",
        temperature=0.3,
    )
    started = await anext(PROVIDER.stream(asked))
    assert isinstance(started, Started)
    assert len(started.warnings) == 2
