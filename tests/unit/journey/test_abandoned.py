"""What is known of the attempts of a worker that died, from its notes and from what it showed."""

from dataclasses import replace
from datetime import timedelta

from message_service.journey.abandoned import WORKER_DIED, attempts_of
from message_service.live.event import Began
from message_service.live.traces import Trace
from message_service.messages.reply import AbandonedClaim, Attempt, Usage
from message_service.providers.routing.attempts import STOPPED
from tests.fixtures.samples import MOMENT

_AT = MOMENT + timedelta(seconds=30)
_CLAIM = AbandonedClaim(epoch=1, claimed_at=MOMENT)
_NOTED = Attempt(
    provider="openai",
    host="api.openai.com",
    model="gpt",
    started_at=MOMENT,
    ended_at=MOMENT + timedelta(seconds=3),
    usage=Usage(100, 1, is_estimated=True),
    error=STOPPED,
)
_BEGAN = Began("openai", "gpt", 1, "api.openai.com", MOMENT, 100)


def found(claim: AbandonedClaim = _CLAIM, *traced: Trace, asked_provider: str | None = None) -> tuple[Attempt, ...]:
    return attempts_of(
        claim, traced, asked_provider=asked_provider, at=_AT, count_tokens=lambda text: len(text.split())
    )


def test_tokens_are_those_of_the_prompt_and_of_the_text_that_was_shown() -> None:
    (attempt,) = found(_CLAIM, Trace(_BEGAN, ["three ", "more words"]))
    assert attempt == replace(_NOTED, ended_at=_AT, usage=Usage(100, 3, is_estimated=True), error=WORKER_DIED)


def test_reported_usage_goes_before_an_estimate() -> None:
    (attempt,) = found(_CLAIM, Trace(_BEGAN, ["word"], Usage(90, 2)))
    assert attempt.usage == Usage(90, 2)


def test_attempt_is_one_when_it_was_noted_and_shown() -> None:
    (attempt,) = found(replace(_CLAIM, attempts=(_NOTED,)), Trace(_BEGAN, ["three more words"]))
    assert attempt.usage == Usage(100, 3, is_estimated=True)


def test_notes_are_enough_when_nothing_that_was_shown_is_left() -> None:
    (attempt,) = found(replace(_CLAIM, attempts=(_NOTED,)))
    assert attempt == replace(_NOTED, ended_at=_AT, error=WORKER_DIED)


def test_what_had_ended_is_as_it_was_noted() -> None:
    ended = replace(_NOTED, usage=Usage(100, 7), error="provider_stream_cut")
    second = replace(_BEGAN, provider="anthropic", started_at=MOMENT + timedelta(seconds=5))
    shown = Trace(_BEGAN, ["word"], error="provider_stream_cut"), Trace(second)
    first, last = found(replace(_CLAIM, attempts=(ended,)), *shown)
    assert first == ended
    assert (last.provider, last.usage, last.error) == ("anthropic", Usage(100, 0, is_estimated=True), WORKER_DIED)


def test_attempt_that_nobody_heard_of_is_logged_and_costs_nothing() -> None:
    assert found() == (Attempt(provider="unknown", started_at=MOMENT, ended_at=_AT, error=WORKER_DIED),)
    assert found(asked_provider="openai")[0].provider == "openai"


def test_it_died_over_the_next_attempt_when_all_that_are_known_had_ended() -> None:
    first, last = found(_CLAIM, Trace(_BEGAN, ["word"], error="provider_stream_cut"))
    assert (first.error, first.usage) == ("provider_stream_cut", Usage(100, 1, is_estimated=True))
    assert (last.provider, last.usage, last.error) == ("unknown", None, WORKER_DIED)
    assert first.started_at <= last.started_at
