"""Whose turn it is of those who wait for room."""

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from message_service.providers.routing.target import Target
from message_service.providers.routing.waiting_line import Place, Standing, WaitingLine
from message_service.providers.scripted import ScriptedProvider

A, B, C = (Target(ScriptedProvider(1_000)) for _ in range(3))
ROOM, FULL, TRIAL, AWAY = Standing.ROOM, Standing.FULL, Standing.TRIAL, Standing.AWAY


@dataclass(eq=False)
class Waiter:
    place: Place
    wanted: Sequence[Target]


def waiter(kind: int, name: str, *wanted: Target, number: int = 0) -> Waiter:
    return Waiter(((kind, name), number), wanted or (A,))


def line_of(*waiters: Waiter) -> WaitingLine[Waiter]:
    line: WaitingLine[Waiter] = WaitingLine()
    for one in waiters:
        line.join(one)
    return line


def turns(
    line: WaitingLine[Waiter], room: dict[Target, int], **stands: Sequence[Target]
) -> list[tuple[Waiter, Target | None]]:
    """Who need not wait when targets have so much room, of which everybody takes theirs, and others stand otherwise."""
    others = {target: Standing[name.upper()] for name, targets in stands.items() for target in targets}
    taken = []
    for one, target in line.turns(lambda asked: ROOM if room.get(asked) else others.get(asked, FULL)):
        if target is not None:
            room[target] -= 1
        taken.append((one, target))
    return taken


_WAITERS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from("abc"), st.sets(st.sampled_from([A, B, C]), min_size=1)), max_size=12
)


@given(_WAITERS, st.sets(st.integers(0, 9)), st.lists(st.sampled_from([A, B, C]), max_size=20))
def test_next_is_the_first_by_rank_and_then_by_arrival_of_those_who_want_the_target_whatever_came_and_left(
    arriving: list[tuple[int, str, set[Target]]], leaving: set[int], served: list[Target]
) -> None:
    waiters = [Waiter(((kind, name), number), tuple(wanted)) for number, (kind, name, wanted) in enumerate(arriving)]
    line = line_of(*waiters)
    for gone in leaving & set(range(len(waiters))):
        for _ in range(2):  # the second time it is not there
            line.leave(waiters[gone])
    staying = [one for one in waiters if one.place[1] not in leaving]
    for target in served:
        best = min((one for one in staying if target in one.wanted), key=lambda one: one.place, default=None)
        assert line.next_for(target) is best
        if best is not None:
            staying.remove(best)
    assert len(line) == len(staying)


def test_newcomer_goes_first_when_nobody_before_it_wants_the_target() -> None:
    line = line_of(waiter(0, "b", B), waiter(1, "d", A, B))
    assert line.goes_first(((1, "c"), 9), A)
    assert not line.goes_first(((1, "d"), 9), A), "of equal ranks the first to come is first"
    assert not line.goes_first(((1, "c"), 9), B)
    assert line.goes_first(((0, "a"), 9), B)
    assert line.goes_first(((2, "z"), 9), C)


def test_room_goes_to_first_places_when_there_is_less_than_is_wanted() -> None:
    late, early, both, other = waiter(1, "x"), waiter(0, "x"), waiter(0, "y", A, B), waiter(0, "z", C)
    line = line_of(late, early, both, other)
    assert turns(line, {A: 1, B: 1}) == [(early, A), (both, B)]
    assert turns(line, {A: 2, B: 1}) == [(late, A)], "each has one turn"
    assert turns(line, {}) == []
    assert len(line) == 1


def test_room_is_offered_to_the_next_when_it_was_not_taken() -> None:
    first, second = waiter(0, "a"), waiter(0, "b")
    line = line_of(first, second)
    assert list(line.turns(lambda _: ROOM)) == [(first, A), (second, A)]


def test_first_choice_is_taken_when_several_have_room() -> None:
    one = waiter(0, "a", B, A, C)
    assert turns(line_of(one), {A: 1, C: 1}) == [(one, A)]


def test_only_the_first_looks_for_itself_when_a_target_may_be_tried() -> None:
    first, second, third = waiter(0, "a", A, B), waiter(0, "b", A, B), waiter(0, "c", A)
    line = line_of(third, second, first)
    assert turns(line, {}, trial=[A]) == [(first, None), (third, None)], "the third has nobody to wait for"
    assert len(line) == 1


def test_everybody_looks_for_themselves_when_all_they_want_are_away() -> None:
    one, other, waiting = waiter(0, "a", A, B), waiter(1, "b", B), waiter(0, "c", A, C)
    line = line_of(one, other, waiting)
    assert turns(line, {}, away=[A, B]) == [(one, None), (other, None)]
