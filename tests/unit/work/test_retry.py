"""When a failed attempt is tried again, and how long it waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from message_service.errors import ContextTooLong, ProviderAuthFailed, ProviderError, ProviderOverloaded, StreamCut
from message_service.work.retry import GiveUp, RetryPolicy, TryAgain

POLICY = RetryPolicy(max_attempts=5)
OVERLOADED = ProviderOverloaded(provider="any")
ALMOST_ONE = 1 - 2**-53


def delay(error: ProviderError, *, attempts: int = 1, remaining: float = 600, chance: float = ALMOST_ONE) -> float:
    decision = POLICY.decide(error, attempts=attempts, remaining_seconds=remaining, chance=chance)
    assert isinstance(decision, TryAgain)
    return decision.after_seconds


@pytest.mark.parametrize(("attempts", "longest"), [(1, 0.5), (2, 1), (3, 2), (4, 4)])
def test_longest_wait_doubles_when_attempts_fail(attempts: int, longest: float) -> None:
    assert delay(OVERLOADED, attempts=attempts) == pytest.approx(longest)
    assert delay(OVERLOADED, attempts=attempts, chance=0) == 0


def test_wait_has_a_ceiling_when_attempts_are_many() -> None:
    patient = RetryPolicy(max_attempts=50)
    decision = patient.decide(OVERLOADED, attempts=49, remaining_seconds=600, chance=ALMOST_ONE)
    assert isinstance(decision, TryAgain)
    assert decision.after_seconds == pytest.approx(30)


@pytest.mark.parametrize("error", [ContextTooLong(provider="any"), ProviderAuthFailed(provider="any")])
def test_nothing_is_tried_again_when_the_fault_will_not_pass(error: ProviderError) -> None:
    assert POLICY.decide(error, attempts=1, remaining_seconds=600) == GiveUp(error)


def test_nothing_is_tried_again_when_attempts_are_used_up() -> None:
    assert isinstance(POLICY.decide(OVERLOADED, attempts=4, remaining_seconds=600), TryAgain)
    assert POLICY.decide(OVERLOADED, attempts=5, remaining_seconds=600) == GiveUp(OVERLOADED)


def test_provider_is_obeyed_when_it_says_how_long_to_wait() -> None:
    assert delay(StreamCut(provider="any", retry_after_seconds=7), chance=0) == 7


def test_own_wait_counts_when_the_provider_asks_for_less() -> None:
    assert delay(StreamCut(provider="any", retry_after_seconds=0.1), attempts=4) == pytest.approx(4)


def test_nothing_is_tried_again_when_the_deadline_comes_first() -> None:
    error = ProviderOverloaded(provider="any", retry_after_seconds=30)
    assert POLICY.decide(error, attempts=1, remaining_seconds=30) == GiveUp(error)
    assert isinstance(POLICY.decide(error, attempts=1, remaining_seconds=30.1), TryAgain)


@given(st.integers(1, 49), st.floats(0.01, 86_400), st.none() | st.floats(0, 86_400))
def test_next_attempt_is_within_the_deadline_when_there_is_one(
    attempts: int, remaining: float, retry_after: float | None
) -> None:
    error = ProviderOverloaded(provider="any", retry_after_seconds=retry_after)
    decision = RetryPolicy(max_attempts=50).decide(error, attempts=attempts, remaining_seconds=remaining)
    if isinstance(decision, TryAgain):
        assert (retry_after or 0) <= decision.after_seconds < remaining
        assert decision.after_seconds <= max(30, retry_after or 0)
