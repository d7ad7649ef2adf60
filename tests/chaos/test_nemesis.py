"""The schedule of faults: the seed decides it, and every kind has its turn."""

from itertools import islice

import pytest

from tests.chaos.faults import fault_kinds
from tests.chaos.nemesis import LONGEST_GAP_SECONDS, SHORTEST_GAP_SECONDS, schedule


@pytest.mark.parametrize("mongod_members", [1, 3])
def test_schedule_is_the_same_when_the_seed_is(mongod_members: int) -> None:
    kinds = fault_kinds(mongod_members=mongod_members)
    first, again, other = (list(islice(schedule(kinds, seed), 300)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


@pytest.mark.parametrize("mongod_members", [1, 3])
def test_every_kind_has_its_turn_when_a_round_is_over(mongod_members: int) -> None:
    kinds = fault_kinds(mongod_members=mongod_members)
    round_ = list(islice(schedule(kinds, 1), sum(kind.share for kind in kinds)))
    assert {planned.kind.name for planned in round_} == {kind.name for kind in kinds}
    assert len(kinds) >= 30
    assert len({kind.name for kind in kinds}) == len(kinds)


def test_faults_keep_to_their_lengths_when_they_are_planned() -> None:
    for planned in islice(schedule(fault_kinds(mongod_members=1), 3), 500):
        assert planned.kind.seconds[0] <= planned.seconds <= planned.kind.seconds[1]
        assert SHORTEST_GAP_SECONDS <= planned.gap_seconds <= LONGEST_GAP_SECONDS


def test_faults_come_twice_as_often_when_they_are_twice_as_dense() -> None:
    kinds = fault_kinds(mongod_members=1)
    usual = [planned.gap_seconds for planned in islice(schedule(kinds, 3), 100)]
    dense = [planned.gap_seconds for planned in islice(schedule(kinds, 3, density=2), 100)]
    assert dense == [gap / 2 for gap in usual]
