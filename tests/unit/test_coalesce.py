"""Calls share trips: who travels with whom, in which order, and what each of them hears."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from message_service.coalesce import Coalescer
from tests.unit.station import Station


async def at_once(items: Sequence[int]) -> Sequence[int]:
    return [item * 10 for item in items]


async def test_calls_share_a_trip_when_they_come_together() -> None:
    station = Station()
    together: Coalescer[str, str] = Coalescer(station.travel, max_items=10)
    calls = [together.submit(name) for name in "abc"]
    assert await station.end_all(calls) == ["did a", "did b", "did c"]
    assert station.trips == [["a", "b", "c"]]


async def test_nobody_waits_when_a_call_comes_alone() -> None:
    together: Coalescer[int, int] = Coalescer(at_once, max_items=10)
    call = together.submit(1)
    turns = 0
    while not call.done():
        await asyncio.sleep(0)
        turns += 1
    assert call.result() == 10
    assert turns <= 3, "one turn of the loop to gather, one to travel, one to answer"


async def test_calls_gather_when_every_trip_is_under_way() -> None:
    station = Station()
    together: Coalescer[str, str] = Coalescer(station.travel, max_items=10, max_in_flight=1)
    first = together.submit("a")
    await station.departed(1)
    later = [together.submit(name) for name in "bcd"]
    await asyncio.sleep(0)
    assert station.trips == [["a"]]
    await station.end_all([first, *later])
    assert station.trips == [["a"], ["b", "c", "d"]]


async def test_second_trip_departs_when_two_may_be_under_way() -> None:
    station = Station()
    together: Coalescer[str, str] = Coalescer(station.travel, max_items=10, max_in_flight=2)
    calls = [together.submit("a")]
    await station.departed(1)
    calls.append(together.submit("b"))
    await station.departed(2)
    calls.append(together.submit("c"))
    await asyncio.sleep(0)
    assert station.trips == [["a"], ["b"]]
    await station.end_all(calls)
    assert station.most_under_way == 2


async def test_trip_takes_no_more_than_fit_when_many_wait() -> None:
    station = Station()
    together: Coalescer[int, str] = Coalescer(station.travel, max_items=4)
    await station.end_all([together.submit(number) for number in range(10)])
    assert station.trips == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_lane_waits_for_its_trip_when_another_could_depart() -> None:
    station = Station()
    together: Coalescer[str, str] = Coalescer(
        station.travel, max_items=10, max_in_flight=2, lane_of=lambda item: item[0]
    )
    calls = [together.submit("x1")]
    await station.departed(1)
    calls += [together.submit(name) for name in ("x2", "y1", "x3")]
    await station.departed(2)
    assert station.trips == [["x1"], ["y1"]]
    await station.end_all(calls)
    assert [item for trip in station.trips[2:] for item in trip] == ["x2", "x3"]
    assert not any({"x2", "x3"} & {*under_way} and "x1" in under_way for under_way in station.together)


async def test_lane_keeps_its_order_when_a_trip_is_full() -> None:
    station = Station()
    together: Coalescer[str, str] = Coalescer(
        station.travel, max_items=2, max_in_flight=3, lane_of=lambda item: item[0]
    )
    await station.end_all([together.submit(name) for name in ("x1", "x2", "x3", "y1", "x4")])
    travelled = [item for trip in station.trips for item in trip if item[0] == "x"]
    assert travelled == ["x1", "x2", "x3", "x4"]


async def test_solos_travel_apart_when_they_come_together() -> None:
    station = Station()
    together: Coalescer[str, str] = Coalescer(
        station.travel, max_items=10, max_in_flight=1, solo_of=lambda item: item[0] if item[0] != "-" else None
    )
    calls = [together.submit(name) for name in ("k1", "k2", "-1", "-2", "m1")]
    await station.departed(1)
    assert station.trips == [["k1", "-1", "-2", "m1"]]
    await station.end_all(calls)
    assert station.trips[1:] == [["k2"]]


async def test_each_caller_hears_of_its_own_when_some_items_are_refused() -> None:
    async def refuse_odd(items: Sequence[int]) -> Sequence[int | Exception]:
        return [ValueError(f"{item} is odd") if item % 2 else item for item in items]

    together: Coalescer[int, int] = Coalescer(refuse_odd, max_items=10)
    answers = await asyncio.gather(*(together.call(number) for number in range(4)), return_exceptions=True)
    assert [answers[0], answers[2]] == [0, 2]
    assert [str(answers[1]), str(answers[3])] == ["1 is odd", "3 is odd"]


async def test_all_hear_of_it_and_others_travel_on_when_a_trip_breaks() -> None:
    station = Station()
    together: Coalescer[str, str] = Coalescer(station.travel, max_items=2)
    calls = [together.submit(name) for name in "abc"]
    await station.departed(1)
    station.end(0, ConnectionError("the bridge is out"))
    await station.departed(2)
    station.end(1)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["the bridge is out", "the bridge is out", "did c"]


async def test_lane_is_free_again_when_its_trip_broke() -> None:
    station = Station()
    together: Coalescer[str, str] = Coalescer(station.travel, max_items=2, lane_of=lambda _: "only")
    broken = together.submit("a")
    await station.departed(1)
    station.end(0, ConnectionError("the bridge is out"))
    with pytest.raises(ConnectionError):
        await broken
    assert await station.end_all([together.submit("b")]) == ["did b"]


@pytest.mark.parametrize("answers", [[], [1], [1, 2, 3]])
async def test_callers_hear_of_it_when_a_trip_answers_too_few_or_too_many(answers: list[int]) -> None:
    async def miscount(_: Sequence[int]) -> Sequence[int]:
        return answers

    together: Coalescer[int, int] = Coalescer(miscount, max_items=10)
    calls = [together.submit(1), together.submit(2)]
    async with asyncio.timeout(5):
        heard = await asyncio.gather(*calls, return_exceptions=True)
        await together.drain()
    assert all(isinstance(answer, Exception) for answer in heard)


async def test_trip_goes_on_when_a_caller_leaves() -> None:
    station = Station()
    together: Coalescer[str, str] = Coalescer(station.travel, max_items=10)
    leaving = asyncio.create_task(together.call("a"))
    staying = asyncio.create_task(together.call("b"))
    await station.departed(1)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    station.end(0)
    assert await staying == "did b"
    assert station.trips == [["a", "b"]]


async def test_call_is_not_made_when_its_caller_leaves_before_the_trip() -> None:
    station = Station()
    together: Coalescer[str, str] = Coalescer(station.travel, max_items=10)
    first = together.submit("a")
    await station.departed(1)
    leaving = asyncio.create_task(together.call("b"))
    await asyncio.sleep(0)
    staying = together.submit("c")
    leaving.cancel()
    station.end(0)
    await first
    await station.departed(2)
    assert station.trips[1] == ["c"]
    station.end(1)
    await staying
    await together.drain()


CROWD = 4


async def a_crowd_comes_back() -> list[list[str]]:
    """A crowd travels; then it comes again one by one, and nobody would depart before an hour."""
    station = Station()
    together: Coalescer[str, str] = Coalescer(station.travel, max_items=10, gather_seconds=3600)
    await station.end_all([together.submit(f"first {number}") for number in range(CROWD)])
    again = []
    for number in range(CROWD):
        assert len(station.trips) == 1, "not before the crowd is whole"
        again.append(together.submit(f"again {number}"))
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await station.end_all(again)
    return station.trips


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_trip_departs_at_once_when_the_crowd_is_whole_again(run: Callable[..., Any]) -> None:
    assert [len(trip) for trip in run(a_crowd_comes_back())] == [CROWD, CROWD]


async def test_trip_departs_after_a_while_when_the_crowd_has_gone() -> None:
    together: Coalescer[int, int] = Coalescer(at_once, max_items=10, gather_seconds=0.01)
    await asyncio.gather(*(together.call(number) for number in range(CROWD)))
    async with asyncio.timeout(5):
        assert await together.call(7) == 70


async def test_drain_waits_when_calls_are_waiting_and_under_way() -> None:
    station = Station()
    together: Coalescer[int, str] = Coalescer(station.travel, max_items=2)
    calls = [together.submit(number) for number in range(5)]
    draining = asyncio.create_task(together.drain())
    await station.departed(1)
    assert not draining.done()
    await station.end_all(calls)
    await draining
    assert all(call.done() for call in calls)


async def test_drain_returns_when_nothing_was_called() -> None:
    together: Coalescer[int, int] = Coalescer(at_once, max_items=2)
    async with asyncio.timeout(1):
        await together.drain()


@given(
    st.lists(st.tuples(st.sampled_from("wxyz-"), st.sampled_from("kl-")), max_size=25),
    st.integers(1, 5),
    st.integers(1, 3),
)
def test_bonds_hold_and_nobody_is_forgotten_when_calls_come_in_any_mix(
    bonds: list[tuple[str, str]], max_items: int, max_in_flight: int
) -> None:
    async def run() -> None:
        station = Station()
        items = [(number, *bond) for number, bond in enumerate(bonds)]
        together: Coalescer[Any, str] = Coalescer(
            station.travel,
            max_items=max_items,
            max_in_flight=max_in_flight,
            lane_of=lambda item: ("lane", item[1]) if item[1] != "-" else None,
            solo_of=lambda item: ("solo", item[2]) if item[2] != "-" else None,
        )
        answers = await station.end_all([together.submit(item) for item in items])
        assert answers == [f"did {item}" for item in items]
        assert station.most_under_way <= max_in_flight
        for trip, under_way in zip(station.trips, station.together, strict=True):
            assert len(trip) <= max_items
            solos = [item[2] for item in under_way if item[2] != "-"]
            assert len(solos) == len(set(solos)), "never under way at once"
            others = [item for item in under_way if item not in trip]
            assert not {item[1] for item in trip if item[1] != "-"} & {item[1] for item in others}
        travelled = [item for trip in station.trips for item in trip]
        for lane in "wxyz":
            in_lane = [item[0] for item in travelled if item[1] == lane]
            assert in_lane == sorted(in_lane)

    asyncio.run(run())


async def test_call_is_sent_home_when_it_waited_too_long_for_its_trip() -> None:
    station = Station()
    together: Coalescer[str, str] = Coalescer(
        station.travel, max_items=10, longest_wait_seconds=0.05, too_late=lambda: LookupError("too late")
    )
    first = together.submit("a")
    await station.departed(1)
    late = together.submit("b")
    await asyncio.sleep(0.1)
    in_time = together.submit("c")
    station.end(0)
    await first
    await station.departed(2)
    assert station.trips[1] == ["c"]
    station.end(1)
    await in_time
    with pytest.raises(LookupError, match="too late"):
        await late
    await together.drain()
