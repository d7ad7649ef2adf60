"""The scripted provider: what it writes, how fast, and how it fails."""

import asyncio
import re

import pytest

from message_service.errors import (
    EmptyResponse,
    ProviderConnectFailed,
    ProviderError,
    ProviderOverloaded,
    ProviderRateLimited,
    StreamCut,
)
from message_service.messages.message import Role
from message_service.messages.reply import FinishReason, Usage
from message_service.providers.provider import (
    Finished,
    Prompt,
    ProviderEvent,
    Started,
    TextDelta,
    Turn,
    UsageReported,
)
from message_service.providers.scripted import ScriptedProvider

PROVIDER = ScriptedProvider(tokens_per_second=100_000)


def _prompt(message: str, *, instructions: str | None = None, limit: int = 1000, stop: tuple[str, ...] = (),
            attempt: int = 1) -> Prompt:  # fmt: skip
    return Prompt(
        instructions=instructions,
        turns=(Turn(Role.USER, message),),
        prompt_tokens=21,
        max_output_tokens=limit,
        stop=stop,
        attempt=attempt,
    )


async def _read(prompt: Prompt, provider: ScriptedProvider = PROVIDER) -> list[ProviderEvent]:
    return [event async for event in provider.stream(prompt)]


async def _fail(prompt: Prompt) -> tuple[list[ProviderEvent], ProviderError]:
    events: list[ProviderEvent] = []
    with pytest.raises(ProviderError) as caught:
        async for event in PROVIDER.stream(prompt):
            events.append(event)  # noqa: PERF401  # what came before the error is wanted too
    return events, caught.value


def _words(events: list[ProviderEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, TextDelta)]


async def test_small_talk_takes_up_the_words_when_nothing_is_scripted() -> None:
    events = await _read(_prompt("Do you like old maps?", instructions="You are Mira, who sells books."))
    text = "".join(_words(events))
    assert "Do you like old maps?" in text
    assert text.count("\n\n") <= 3
    assert events[-1] == Finished(FinishReason.STOP)


async def test_text_is_the_same_when_the_prompt_is_the_same() -> None:
    assert await _read(_prompt("Tell me more")) == await _read(_prompt("Tell me more"))
    talks = {"".join(_words(await _read(_prompt(f"Tell me {number}")))) for number in range(40)}
    assert len({re.sub(r"Tell me [0-9]+", "", talk) for talk in talks}) > 10


@pytest.mark.parametrize(
    "message", ["", "  \n ", "x" * 50_000, "\u65e5\u672c\u8a9e" * 5000, "{who} {words} %s", "\ud800"]
)
async def test_small_talk_is_short_when_the_message_is_strange(message: str) -> None:
    events = await _read(_prompt(message))
    assert len("".join(_words(events))) < 1200
    assert isinstance(events[-1], Finished)


async def test_reply_is_exactly_the_text_when_it_is_given_word_for_word() -> None:
    text = "One,\n\ttwo  \u65e5\u672c\u8a9e\u65e5\u672c\u8a9e\u65e5\u672c\u8a9e\u65e5\u672c\u8a9e \U0001f680 end"
    assert "".join(_words(await _read(_prompt(f"/script\n{text}")))) == text


async def test_text_is_cut_or_begun_again_when_a_number_of_words_is_asked_for() -> None:
    assert "".join(_words(await _read(_prompt('/script say="a b c" tokens=7')))) == "a b c a b c a"
    assert "".join(_words(await _read(_prompt('/script say="a b c" tokens=2')))) == "a b"
    assert "".join(_words(await _read(_prompt('/script say="a b" repeat=3')))) == "a b a b a b"


async def test_reply_ends_by_length_when_it_would_be_longer_than_allowed() -> None:
    events = await _read(_prompt("/script tokens=40", limit=12))
    assert len(_words(events)) == 12
    assert events[-2:] == [UsageReported(Usage(21, 12)), Finished(FinishReason.LENGTH)]


async def test_reply_ends_by_itself_when_it_is_exactly_as_long_as_allowed() -> None:
    assert (await _read(_prompt("/script tokens=12", limit=12)))[-1] == Finished(FinishReason.STOP)
    assert (await _read(_prompt('/script say="a b c"', limit=3)))[-1] == Finished(FinishReason.STOP)


async def test_reply_ends_before_a_stop_sequence_when_one_is_met() -> None:
    events = await _read(_prompt('/script say="one two three four" finish=length', stop=("ur", "o th", "")))
    assert "".join(_words(events)) == "one tw"
    assert events[-2:] == [UsageReported(Usage(21, 2)), Finished(FinishReason.STOP)]


async def test_end_is_as_scripted_when_the_text_was_not_cut() -> None:
    assert (await _read(_prompt("/script tokens=3 finish=content_filter")))[-1] == Finished(FinishReason.CONTENT_FILTER)


async def test_reply_explains_what_is_wrong_when_the_directive_is_bad() -> None:
    events = await _read(_prompt("/script tokens=many"))
    assert "tokens takes a whole number" in "".join(_words(events))
    assert events[-1] == Finished(FinishReason.STOP)


async def test_failure_comes_after_the_words_when_it_is_scripted_inside() -> None:
    events, error = await _fail(_prompt("/script tokens=40 fail=overloaded@10"))
    assert type(error) is ProviderOverloaded
    assert len(_words(events)) == 10
    assert not any(isinstance(event, Finished | UsageReported) for event in events)


async def test_failure_comes_before_the_end_when_the_text_is_shorter() -> None:
    events, error = await _fail(_prompt('/script say="a b" fail=cut@10'))
    assert type(error) is StreamCut
    assert _words(events) == ["a", " b"]


async def test_prompt_is_refused_before_anything_when_the_failure_has_no_place() -> None:
    events, error = await _fail(_prompt("/script fail=rate_limited retry_after=2.5"))
    assert type(error) is ProviderRateLimited
    assert (events, error.retry_after_seconds, error.provider) == ([], 2.5, "scripted")


async def test_reply_starts_and_is_empty_when_it_fails_after_no_words() -> None:
    events, error = await _fail(_prompt("/script fail=empty@0"))
    assert type(error) is EmptyResponse
    assert events == [Started("scripted", "scripted")]


async def test_later_attempt_succeeds_when_only_the_first_ones_are_to_fail() -> None:
    message = "/script tokens=3 fail=unreachable attempts=2"
    for attempt in (1, 2):
        assert type((await _fail(_prompt(message, attempt=attempt)))[1]) is ProviderConnectFailed
    assert len(_words(await _read(_prompt(message, attempt=3)))) == 3


async def test_stall_lasts_until_the_caller_gives_up_when_one_is_scripted() -> None:
    stream = PROVIDER.stream(_prompt("/script tokens=40 fail=stall@2"))
    assert [type(await anext(stream)) for _ in range(3)] == [Started, TextDelta, TextDelta]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await anext(stream)


async def test_words_keep_their_schedule_when_the_reader_is_slow_at_first() -> None:
    clock = asyncio.get_running_loop().time
    started = clock()
    arrivals = []
    async for event in ScriptedProvider(tokens_per_second=1).stream(_prompt("/script tokens=30 rate=100 first=0.1")):
        if isinstance(event, TextDelta):
            if not arrivals:
                await asyncio.sleep(0.15)
            arrivals.append(clock() - started)
    # The 30th word is due at 0.1 + 29 / 100 s; were each pause counted from the word before, it would be 0.15 s later.
    assert 0.39 <= arrivals[-1] < 0.39 + 0.14
    assert arrivals[0] >= 0.1


async def test_caller_is_warned_when_something_of_the_prompt_is_dropped() -> None:
    prompt = Prompt(
        instructions=None,
        turns=(Turn(Role.USER, "Hi"),),
        prompt_tokens=1,
        max_output_tokens=10,
        model="gpt",
        temperature=0.3,
    )
    started = (await _read(prompt))[0]
    assert isinstance(started, Started)
    assert len(started.warnings) == 2
