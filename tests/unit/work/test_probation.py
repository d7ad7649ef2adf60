"""How many replies run together that may be what their workers died of."""

from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack

import pytest

from message_service.ids import ReplyId
from message_service.work.probation import Probation, suspect_attempts
from tests.fixtures.clock import Clock

MAX_ATTEMPTS = 5
MOST_REPRIEVES = 3


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def probation(clock: Clock) -> Probation:
    return Probation(MAX_ATTEMPTS, clock=clock)


def suspects(count: int, *, attempts: int, name: str = "msg") -> dict[ReplyId, int]:
    return {ReplyId(f"{name}_{number}"): attempts for number in range(count)}


def begin(probation: Probation, admitted: Iterable[ReplyId], attended: ExitStack) -> None:
    for reply_id in admitted:
        assert attended.enter_context(probation.attending(reply_id))
        probation.claimed(reply_id)


@pytest.mark.parametrize(
    ("max_attempts", "suspicious"), [(1, []), (2, []), (3, [2]), (4, [2, 3]), (5, [2, 3, 4]), (10, [7, 8, 9])]
)
def test_first_death_and_the_last_claim_are_nobodys_fault(max_attempts: int, suspicious: list[int]) -> None:
    assert list(suspect_attempts(max_attempts)) == suspicious


@pytest.mark.parametrize(("attempts", "together"), [(2, 64), (3, 8), (4, 1)])
def test_fewer_run_together_when_fewer_attempts_remain(probation: Probation, attempts: int, together: int) -> None:
    assert len(probation.admit(suspects(100, attempts=attempts), room=1_000)) == together


def test_no_more_begin_than_there_is_room_for(probation: Probation) -> None:
    assert len(probation.admit(suspects(100, attempts=2), room=5)) == 5


def test_least_suspicious_come_first_and_the_most_suspicious_of_all_sets_the_limit(probation: Probation) -> None:
    mixed = suspects(3, attempts=4, name="worst") | suspects(6, attempts=3) | suspects(5, attempts=2, name="best")
    admitted = probation.admit(mixed, room=1_000)
    assert [reply_id.partition("_")[0] for reply_id in admitted] == ["best"] * 5 + ["msg"] * 3


def test_others_begin_when_those_before_have_ended(probation: Probation) -> None:
    waiting = suspects(3, attempts=4)
    for _ in range(3):
        (reply_id,) = probation.admit(waiting, room=9)
        with probation.attending(reply_id):
            assert probation.admit(waiting, room=9) == []
        del waiting[reply_id]
    assert probation.admit(waiting, room=9) == []


def test_another_begins_when_the_one_before_has_run_for_long_without_killing(
    probation: Probation, clock: Clock
) -> None:
    waiting = suspects(3, attempts=4)
    with ExitStack() as attended:
        begin(probation, probation.admit(waiting, room=9), attended)
        clock.at += 1.9
        assert probation.admit(waiting, room=9) == []
        clock.at += 0.2
        assert probation.admit(waiting, room=9) == [], "not before its attempt is given back"
        probation.clear(probation.survivors())
        assert probation.survivors() == []
        begin(probation, probation.admit(waiting, room=9), attended)
        assert probation.admit(waiting, room=9) == []


def test_time_counts_from_the_claim_when_that_takes_long(probation: Probation, clock: Clock) -> None:
    waiting = suspects(2, attempts=4)
    (first,) = probation.admit(waiting, room=9)
    with probation.attending(first) as is_on_probation:
        clock.at += 1.5
        probation.claimed(first)
        clock.at += 1.5
        assert is_on_probation
        assert probation.survivors() == []
        assert probation.admit(waiting, room=9) == []


def test_reply_is_admitted_again_when_nobody_began_it(probation: Probation, clock: Clock) -> None:
    waiting = suspects(1, attempts=4)
    assert len(probation.admit(waiting, room=9)) == 1
    assert probation.admit(waiting, room=9) == []
    clock.at += 2.1
    assert len(probation.admit(waiting, room=9)) == 1


def test_reply_is_not_on_probation_when_it_was_not_admitted(probation: Probation) -> None:
    with probation.attending(ReplyId("msg_any")) as is_on_probation:
        assert not is_on_probation


class Station:
    """A worker that dies as soon as it has begun the deadly one, again and again, and sweeps twice a second."""

    def __init__(self, clock: Clock, attempts: dict[ReplyId, int], running_seconds: float) -> None:
        self.attempts = attempts
        self.reprieves: Counter[ReplyId] = Counter()
        self._clock = clock
        self._running_seconds = running_seconds
        self._start()

    def _start(self) -> None:
        self._probation = Probation(MAX_ATTEMPTS, clock=self._clock)
        self._attended: dict[ReplyId, ExitStack] = {}
        self._ends_at: dict[ReplyId, float] = {}

    def sweep(self, deadly: ReplyId) -> None:
        self._clock.at += 0.5
        for reply_id in [one for one, ends_at in self._ends_at.items() if ends_at <= self._clock.at]:
            self._attended.pop(reply_id).close()
            del self._ends_at[reply_id], self.attempts[reply_id]
        survivors = self._probation.survivors()
        spared = [one for one in survivors if self.reprieves[one] < MOST_REPRIEVES]
        self.attempts.update({one: self.attempts[one] - 1 for one in spared})
        self.reprieves.update(survivors)
        self._probation.clear(survivors)
        waiting = {one: count for one, count in self.attempts.items() if one not in self._ends_at}
        for reply_id in self._probation.admit(waiting, room=1_000):
            self._attended[reply_id] = ExitStack()
            begin(self._probation, [reply_id], self._attended[reply_id])
            self.attempts[reply_id] += 1
            self._ends_at[reply_id] = self._clock.at + self._running_seconds
        if deadly in self._ends_at:
            if self.attempts[deadly] == MAX_ATTEMPTS:
                del self.attempts[deadly]  # its next claim only ends it
            self._start()

    @property
    def has_begun_all(self) -> bool:
        return len(self._ends_at) == len(self.attempts)


@pytest.mark.parametrize("place", [0.0, 0.5, 1.0], ids=["first", "in the middle", "last"])
@pytest.mark.parametrize("running_seconds", [1, 5, 30])
@pytest.mark.parametrize("crowd", [10, 64, 1_000])
def test_one_that_kills_takes_none_to_its_end_when_it_ran_beside_many(
    crowd: int, running_seconds: float, place: float, clock: Clock
) -> None:
    deadly = ReplyId("deadly")
    before = int(crowd * place)
    line = [*suspects(before, attempts=2), deadly, *suspects(crowd - before, attempts=2, name="later")]
    station = Station(clock, dict.fromkeys(line, 2), running_seconds)
    given_up_at, began_at = 0.0, clock.at
    while not (given_up_at and station.has_begun_all):
        station.sweep(deadly)
        others = [count for reply_id, count in station.attempts.items() if reply_id != deadly]
        assert max(others, default=0) <= MAX_ATTEMPTS
        if not given_up_at and deadly not in station.attempts:
            given_up_at = clock.at
            # One more claim is left to all of them, at least.
            assert max(others, default=0) < MAX_ATTEMPTS
    assert given_up_at - began_at < 60
    assert clock.at - given_up_at < 45
