"""When a breaker opens, for how long, and what closes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from message_service.errors import (
    ContextTooLong,
    EmptyResponse,
    ProviderAuthFailed,
    ProviderError,
    ProviderOverloaded,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRequestInvalid,
    ProviderTimeout,
    StreamCut,
)
from message_service.providers.routing.breaker import (
    BLAME,
    Admission,
    Blame,
    Breaker,
    BreakerPolicy,
    BreakerState,
    Ejection,
)

POLICY = BreakerPolicy()
MIDDLE = 0.5
"""The dice that leave a time as it is."""


def fail(breaker: Breaker, at: float, error: ProviderError | None = None, *, is_probe: bool = False) -> None:
    breaker.failed(error or StreamCut(provider="a"), at, is_probe=is_probe, chance=MIDDLE)


def opened(at: float = 0) -> Breaker:
    breaker = Breaker(POLICY)
    for _ in range(POLICY.failures_in_a_row):
        fail(breaker, at)
    assert breaker.state(at) is BreakerState.OPEN
    return breaker


def test_every_provider_error_says_what_it_means_for_its_target_when_a_new_one_is_added() -> None:
    assert set(BLAME) == set(ProviderError.__subclasses__())


def test_it_opens_when_failures_come_in_a_row() -> None:
    breaker = Breaker(POLICY)
    for _ in range(4):
        fail(breaker, 0)
        assert breaker.admission(0) is Admission.PASS
    fail(breaker, 0)
    assert breaker.admission(4.9) is Admission.REFUSE
    assert breaker.admission(5.1) is Admission.PROBE


def test_it_opens_when_half_of_ten_calls_fail() -> None:
    breaker = Breaker(POLICY)
    for call in range(10):
        assert breaker.state(call) is BreakerState.CLOSED
        if call % 2:
            fail(breaker, call)
        else:
            breaker.succeeded(call, is_probe=False)
    assert breaker.state(9) is BreakerState.OPEN


def test_it_stays_closed_when_the_failures_lie_further_apart_than_the_window() -> None:
    breaker = Breaker(POLICY)
    for call in range(100):
        if call % 2:
            fail(breaker, call * 20.0)
        else:
            breaker.succeeded(call * 20.0, is_probe=False)
        assert breaker.state(call * 20.0) is BreakerState.CLOSED


@pytest.mark.parametrize("kind", [ContextTooLong, ProviderRequestInvalid, EmptyResponse])
def test_nothing_is_counted_when_the_prompt_is_at_fault(kind: type[ProviderError]) -> None:
    breaker = Breaker(POLICY)
    for _ in range(50):
        fail(breaker, 0, kind(provider="a"))
    assert breaker.state(0) is BreakerState.CLOSED


@pytest.mark.parametrize("kind", [ProviderAuthFailed, ProviderQuotaExhausted])
def test_it_opens_at_once_and_for_long_when_a_person_has_to_act(kind: type[ProviderError]) -> None:
    breaker = Breaker(POLICY)
    fail(breaker, 0, kind(provider="a"))
    assert breaker.state(59) is BreakerState.OPEN
    assert breaker.state(61) is BreakerState.HALF_OPEN


def test_it_pauses_as_long_as_told_and_needs_no_probe_when_it_was_rate_limited() -> None:
    breaker = Breaker(POLICY)
    fail(breaker, 0, ProviderRateLimited(provider="a", retry_after_seconds=17))
    assert breaker.admission(16.9) is Admission.REFUSE
    assert breaker.admission(17) is Admission.PASS


def test_a_retry_after_is_obeyed_for_five_minutes_when_it_is_absurd() -> None:
    breaker = Breaker(POLICY)
    fail(breaker, 0, ProviderRateLimited(provider="a", retry_after_seconds=86_400))
    assert breaker.admission(300) is Admission.PASS


def test_rests_asked_for_before_do_not_lengthen_the_open_time_of_failures() -> None:
    breaker = Breaker(POLICY)
    for at in range(20):
        fail(breaker, at, ProviderRateLimited(provider="a", retry_after_seconds=1))
    for _ in range(POLICY.failures_in_a_row):
        fail(breaker, 30)
    assert breaker.state(34.9) is BreakerState.OPEN
    assert breaker.state(35) is BreakerState.HALF_OPEN


def test_a_longer_wait_wins_when_a_call_that_began_before_is_told_of_one() -> None:
    breaker = opened()
    fail(breaker, 1, ProviderOverloaded(provider="a", retry_after_seconds=30))
    fail(breaker, 2, ProviderOverloaded(provider="a", retry_after_seconds=1))
    assert breaker.state(30.9) is BreakerState.OPEN
    assert breaker.state(31) is BreakerState.HALF_OPEN


def test_open_time_doubles_to_a_minute_when_probes_fail() -> None:
    breaker, at = opened(), 0.0
    for seconds in (5, 10, 20, 40, 60, 60):
        assert breaker.state(at + seconds - 0.1) is BreakerState.OPEN
        at += seconds
        assert breaker.state(at) is BreakerState.HALF_OPEN
        fail(breaker, at, is_probe=True)


def test_two_good_probes_close_it_when_it_is_half_open() -> None:
    breaker = opened()
    breaker.succeeded(5, is_probe=True)
    assert breaker.admission(5) is Admission.PROBE
    breaker.succeeded(6, is_probe=True)
    assert breaker.admission(6) is Admission.PASS
    fail(breaker, 7)
    assert breaker.admission(7) is Admission.PASS, "it begins with a clean slate"


def test_only_the_probe_counts_when_it_is_half_open() -> None:
    breaker = opened()
    breaker.succeeded(5, is_probe=False)
    breaker.succeeded(5, is_probe=False)
    fail(breaker, 5, ProviderTimeout(provider="a"))
    assert breaker.state(5) is BreakerState.HALF_OPEN


def test_state_of_others_is_taken_over_when_they_tell() -> None:
    breaker = Breaker(POLICY)
    breaker.adopt(Ejection(ends_at=9, reason="provider_timeout", openings=3))
    assert breaker.state(8) is BreakerState.OPEN
    fail(breaker, 9, is_probe=True)
    assert breaker.state(9 + 39) is BreakerState.OPEN, "the open time goes on doubling from there"
    breaker.adopt(None)
    assert breaker.state(9) is BreakerState.CLOSED


_CALLS = st.lists(
    st.tuples(st.sampled_from([None, *BLAME]), st.floats(0, 30), st.none() | st.floats(0, 1e6)), max_size=60
)


@given(_CALLS)
def test_it_always_lets_somebody_through_within_five_minutes_whatever_happened(
    calls: list[tuple[type[ProviderError] | None, float, float | None]],
) -> None:
    breaker, at = Breaker(POLICY), 0.0
    for kind, pause, retry_after in calls:
        at += pause
        admission = breaker.admission(at)
        if admission is Admission.REFUSE:
            continue
        is_probe = admission is Admission.PROBE
        if kind is None:
            breaker.succeeded(at, is_probe=is_probe)
            assert breaker.admission(at) is not Admission.REFUSE
        else:
            error = kind(provider="a", retry_after_seconds=retry_after)
            breaker.failed(error, at, is_probe=is_probe, chance=MIDDLE)
            assert BLAME[kind] is Blame.NONE or kind is not ProviderAuthFailed or breaker.ejection is not None
    assert breaker.admission(at + POLICY.longest_lasting_open_seconds * 1.2) is not Admission.REFUSE
