"""When a failed attempt is tried again, and how long it waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from message_service.errors import (
    ContextTooLong,
    ModelUnavailable,
    NoProviderAvailable,
    ProviderAuthFailed,
    ProviderConnectFailed,
    ProviderError,
    ProviderOverloaded,
    ProviderRateLimited,
    StreamCut,
)
from message_service.work.retry import GiveUp, RetryPolicy, TryAgain

POLICY = RetryPolicy(max_attempts=5)
OVERLOADED = ProviderOverloaded(provider="any")
CUT = StreamCut(provider="any")
ALMOST_ONE = 1 - 2**-53


def decide(
    error: ProviderError,
    *,
    attempts: int = 1,
    claims: int = 1,
    remaining: float = 600,
    chance: float = ALMOST_ONE,
    policy: RetryPolicy = POLICY,
) -> TryAgain | GiveUp:
    return policy.decide(error, attempts=attempts, claims=claims, remaining_seconds=remaining, chance=chance)


def delay(error: ProviderError, *, attempts: int = 1, claims: int = 1, chance: float = ALMOST_ONE) -> float:
    decision = decide(error, attempts=attempts, claims=claims, chance=chance)
    assert isinstance(decision, TryAgain)
    return decision.after_seconds


@pytest.mark.parametrize(("attempts", "longest"), [(1, 0.5), (2, 1), (3, 2), (4, 4)])
def test_longest_wait_doubles_when_attempts_fail(attempts: int, longest: float) -> None:
    assert delay(CUT, attempts=attempts) == pytest.approx(longest)
    assert delay(CUT, attempts=attempts, chance=0) == 0


def test_wait_has_a_ceiling_when_attempts_are_many() -> None:
    decision = decide(CUT, attempts=49, policy=RetryPolicy(max_attempts=50))
    assert isinstance(decision, TryAgain)
    assert decision.after_seconds == pytest.approx(30)


@pytest.mark.parametrize("error", [ContextTooLong(provider="any"), ProviderAuthFailed(provider="any")])
def test_nothing_is_tried_again_when_the_fault_will_not_pass(error: ProviderError) -> None:
    assert decide(error) == GiveUp(error)


def test_nothing_is_tried_again_when_attempts_are_used_up() -> None:
    assert isinstance(decide(CUT, attempts=4), TryAgain)
    assert decide(CUT, attempts=5) == GiveUp(CUT)


def test_provider_is_obeyed_when_it_says_how_long_to_wait() -> None:
    assert delay(StreamCut(provider="any", retry_after_seconds=7), chance=0) == 7


@pytest.mark.parametrize("kind", [ProviderRateLimited, StreamCut])
def test_reply_waits_half_a_minute_when_a_provider_asks_for_more(kind: type[ProviderError]) -> None:
    assert delay(kind(provider="any", retry_after_seconds=500), chance=0) == 30


def test_own_wait_counts_when_the_provider_asks_for_less() -> None:
    assert delay(StreamCut(provider="any", retry_after_seconds=0.1), attempts=4) == pytest.approx(4)


def test_nothing_is_tried_again_when_the_deadline_comes_first() -> None:
    error = StreamCut(provider="any", retry_after_seconds=30)
    assert decide(error, remaining=30) == GiveUp(error)
    assert isinstance(decide(error, remaining=30.1), TryAgain)
    late = StreamCut(provider="any", retry_after_seconds=400)
    assert decide(late, remaining=300) == GiveUp(late), "although it would be asked in half a minute"


@pytest.mark.parametrize(
    "outage", [ProviderOverloaded, ProviderConnectFailed, ProviderRateLimited, ModelUnavailable, NoProviderAvailable]
)
def test_outage_is_waited_out_uncounted_when_attempts_are_used_up(outage: type[ProviderError]) -> None:
    decision = decide(outage(provider="any"), attempts=5, claims=1_000)
    assert isinstance(decision, TryAgain)
    assert not decision.is_attempt_counted
    assert decision.after_seconds == pytest.approx(10)


@pytest.mark.parametrize("retry_after", [None, 30.0])
def test_outage_ends_with_the_deadline_when_that_comes_first(retry_after: float | None) -> None:
    decision = decide(ProviderOverloaded(provider="any", retry_after_seconds=retry_after), claims=40, remaining=1.5)
    assert decision == TryAgain(1.5, is_attempt_counted=False)


@given(st.integers(1, 49), st.integers(1, 5_000), st.floats(0.01, 86_400), st.none() | st.floats(0, 86_400))
def test_next_attempt_is_within_the_deadline_when_there_is_one(
    attempts: int, claims: int, remaining: float, retry_after: float | None
) -> None:
    for kind in (ProviderOverloaded, StreamCut):
        error = kind(provider="any", retry_after_seconds=retry_after)
        decision = RetryPolicy(max_attempts=50).decide(
            error, attempts=attempts, claims=claims, remaining_seconds=remaining
        )
        if isinstance(decision, TryAgain):
            assert decision.after_seconds <= min(remaining, 30)
            assert decision.after_seconds >= min(retry_after or 0, remaining, 30)
