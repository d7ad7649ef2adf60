"""How many replies a target takes at once, as its refusals teach."""

from hypothesis import given
from hypothesis import strategies as st

from message_service.providers.routing.adaptive_limit import AdaptiveLimit


def test_there_is_no_limit_before_a_refusal() -> None:
    limit = AdaptiveLimit()
    limit.answered(1, in_flight=1000)
    assert limit.most_in_flight(2) is None


def test_refusal_halves_what_was_in_flight_and_those_of_one_burst_count_once() -> None:
    limit = AdaptiveLimit()
    for in_flight in (16, 15, 14):
        limit.refused(10, asked_at=9, in_flight=in_flight)
    assert limit.most_in_flight(10) == 8
    limit.refused(20, asked_at=15, in_flight=8)
    assert limit.most_in_flight(20) == 4


def test_one_more_is_allowed_after_each_full_round_of_good_answers_and_none_when_it_was_not_used_up() -> None:
    limit = AdaptiveLimit()
    limit.refused(0, asked_at=-1, in_flight=8)
    for _ in range(100):
        limit.answered(1, in_flight=3)
    assert limit.most_in_flight(1) == 4
    grown = []
    for _ in range(12):
        limit.answered(1, in_flight=limit.most_in_flight(1) or 0)
        grown.append(limit.most_in_flight(1))
    assert grown == [4, 4, 4, 4, 5, 5, 5, 5, 5, 6, 6, 6]


def test_refusal_is_forgotten_after_five_quiet_minutes() -> None:
    limit = AdaptiveLimit()
    limit.refused(0, asked_at=-1, in_flight=8)
    assert limit.most_in_flight(299) == 4
    assert limit.most_in_flight(300) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 50)), max_size=60))
def test_something_may_always_be_asked_whatever_happened(turns: list[tuple[bool, int]]) -> None:
    limit = AdaptiveLimit()
    for at, (is_refused, in_flight) in enumerate(turns):
        if is_refused:
            limit.refused(at, asked_at=at - 0.5, in_flight=in_flight)
        else:
            limit.answered(at, in_flight=in_flight)
        most = limit.most_in_flight(at)
        assert most is None or 1 <= most <= 60
