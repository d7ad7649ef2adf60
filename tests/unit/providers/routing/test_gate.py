"""Who is let through when targets are full, on a clock that tests turn."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from message_service.errors import ProviderAuthFailed, ProviderOverloaded, ProviderRateLimited
from message_service.providers.provider import Capabilities
from message_service.providers.routing.breaker import Breaker, BreakerPolicy
from message_service.providers.routing.target import Target
from message_service.providers.scripted import ScriptedProvider
from tests.unit.providers.routing.door import Door, TurnedLoop

ONCE_IS_ENOUGH = BreakerPolicy(failures_in_a_row=1, first_open_seconds=5, probes_to_close=1)

Story = Callable[[Door], Coroutine[Any, Any, None]]
Play = Callable[[Story], None]


@pytest.fixture
def play() -> Play:
    def run(story: Story) -> None:
        with asyncio.Runner(loop_factory=TurnedLoop) as runner:
            runner.run(story(Door()))

    return run


def one_slot(slots: int = 1, policy: BreakerPolicy = ONCE_IS_ENOUGH) -> Target:
    return Target(ScriptedProvider(1_000), Breaker(policy), most_in_flight=slots)


def test_room_goes_by_rank_and_then_by_arrival_when_many_wait_for_it(play: Play) -> None:
    async def story(door: Door) -> None:
        target = one_slot()
        door.asks("holder", target)
        for name, kind in [("s1", 2), ("v2", 1), ("r2", 0), ("v1", 1), ("r1", 0), ("r1'", 0), ("s0", 2)]:
            door.asks(name, target, kind=kind)
        await door.others_run()
        assert door.let_in == ["holder"]
        while len(door.let_in) < 8:
            await door.leaves(door.let_in[-1])
            await door.others_run()
        assert door.let_in == ["holder", "r1", "r1'", "r2", "v1", "v2", "s0", "s1"]
        await door.leaves("s1")
        assert target.in_flight == 0

    play(story)


def test_waiter_is_let_in_when_a_newcomer_comes_in_the_instant_in_which_there_is_room(play: Play) -> None:
    async def story(door: Door) -> None:
        target = one_slot()
        door.asks("holder", target)
        door.asks("a", target)
        await door.others_run()
        door.asks("a'", target)  # of the same rank; it runs before the waiter does
        await door.leaves("holder")
        await door.others_run()
        assert door.let_in == ["holder", "a"]
        assert target.in_flight == 1

    play(story)


@pytest.mark.parametrize(("newcomer", "let_in"), [("a", ["a", "b"]), ("b'", ["b", "b'"]), ("c", ["b", "c"])])
def test_rank_decides_when_a_newcomer_comes_upon_room_that_nobody_told_of(
    play: Play, newcomer: str, let_in: list[str]
) -> None:
    async def story(door: Door) -> None:
        target = Target(ScriptedProvider(1_000))
        target.capabilities = capabilities(1)
        door.asks("holder", target)
        door.asks("b", target)
        await door.others_run()
        target.capabilities = capabilities(2)  # as a look at the server finds it
        door.asks(newcomer, target)
        await door.others_run()
        assert door.let_in == ["holder", let_in[0]]
        await door.leaves("holder")
        await door.others_run()
        assert door.let_in == ["holder", *let_in]

    play(story)


def test_next_is_let_in_when_the_first_gives_up(play: Play) -> None:
    async def story(door: Door) -> None:
        target = one_slot()
        for name in ("holder", "a", "b", "c"):
            door.asks(name, target)
        await door.others_run()
        door.gives_up("a")
        await door.others_run()
        assert len(door.gate._waiting) == 2, "no trace of it is left"
        await door.leaves("holder")
        door.gives_up("b")  # it has the pass already, and does not know yet
        await door.others_run()
        assert door.let_in == ["holder", "c"]
        await door.leaves("c")
        assert target.in_flight == 0

    play(story)


def test_next_is_let_in_when_the_first_gives_up_in_the_instant_before_there_is_room(play: Play) -> None:
    async def story(door: Door) -> None:
        target = one_slot()
        for name in ("holder", "a", "b"):
            door.asks(name, target)
        await door.others_run()
        door.gives_up("a")
        await door.leaves("holder")
        await door.others_run()
        assert door.let_in == ["holder", "b"]
        assert target.in_flight == 1

    play(story)


def test_nobody_is_sent_away_before_their_deadline_when_all_is_full(play: Play) -> None:
    async def story(door: Door) -> None:
        target = one_slot()
        door.asks("holder", target)
        door.asks("a", target, wait_seconds=600)
        door.asks("b", target, wait_seconds=700)
        await door.others_run()
        for _ in range(3):
            await door.others_run(after_seconds=199)
        assert door.let_in == ["holder"]
        await door.others_run(after_seconds=4)
        assert door.let_in == ["holder", "a"]
        assert door.passes["a"] is None
        await door.leaves("holder")
        await door.others_run()
        assert door.let_in == ["holder", "a", "b"]
        assert target.in_flight == 1

    play(story)


def test_room_goes_to_the_first_who_may_use_it_when_they_want_different_targets(play: Play) -> None:
    async def story(door: Door) -> None:
        one, other = one_slot(), one_slot()
        door.asks("at one", one)
        door.asks("at other", other)
        await door.others_run()
        door.asks("a", one)
        door.asks("b", one, other)
        door.asks("c", other)
        await door.others_run()
        await door.leaves("at other")
        await door.others_run()
        assert door.let_in[2:] == ["b"]
        await door.leaves("b")
        await door.others_run()
        assert door.let_in[2:] == ["b", "c"]
        await door.leaves("at one")
        await door.others_run()
        assert door.let_in[2:] == ["b", "c", "a"]

    play(story)


def test_as_many_are_let_in_as_there_is_room_when_a_limit_has_grown(play: Play) -> None:
    async def story(door: Door) -> None:
        target = one_slot(4)
        target.learnt.refused(_now(), asked_at=_now(), in_flight=2)  # which leaves one at a time
        for name in "abcd":
            door.asks(name, target)
        await door.others_run()
        assert door.let_in == ["a"]
        admitted = door.passes["a"]
        assert admitted is not None
        admitted.finished()
        await door.leaves("a")
        await door.others_run()
        assert door.let_in == ["a", "b", "c"]

    play(story)


def test_all_are_told_when_the_last_target_they_wait_for_is_left_alone(play: Play) -> None:
    async def story(door: Door) -> None:
        target = one_slot()
        for name in ("holder", "a", "b"):
            door.asks(name, target)
        await door.others_run()
        admitted = door.passes["holder"]
        assert admitted is not None
        admitted.failed(ProviderAuthFailed(provider="any"), chance=0.5)
        await door.leaves("holder")
        await door.others_run(after_seconds=0.3)
        assert (door.passes["a"], door.passes["b"]) == (None, None)

    play(story)


def test_waiter_is_let_in_when_a_rest_is_over_that_a_target_asked_for(play: Play) -> None:
    async def story(door: Door) -> None:
        resting, full = one_slot(2), one_slot()
        door.asks("refused", resting)
        await door.others_run()
        refused = door.passes["refused"]
        assert refused is not None
        refused.failed(ProviderRateLimited(provider="any", retry_after_seconds=3), chance=0.5)
        await door.leaves("refused")
        door.asks("holder", full)
        door.asks("a", resting, full)
        await door.others_run()
        for _ in range(2):
            await door.others_run(after_seconds=1)
        assert door.let_in == ["refused", "holder"]
        await door.others_run(after_seconds=1.3)
        assert door.let_in == ["refused", "holder", "a"]
        assert resting.in_flight == 1

    play(story)


def test_first_waiter_finds_out_whether_a_target_is_well_and_the_others_follow_when_it_is(play: Play) -> None:
    async def story(door: Door) -> None:
        broken, full = one_slot(3), one_slot()
        door.asks("failed", broken)
        await door.others_run()
        failed = door.passes["failed"]
        assert failed is not None
        failed.failed(ProviderOverloaded(provider="any"), chance=0.5)
        await door.leaves("failed")
        door.asks("holder", full)
        for name in "bca":
            door.asks(name, broken, full)
        await door.others_run()
        assert door.let_in == ["failed", "holder"]
        await door.others_run(after_seconds=6)
        assert door.let_in == ["failed", "holder", "a"]
        probe = door.passes["a"]
        assert probe is not None
        await probe.first_text()
        await door.others_run()
        assert door.let_in == ["failed", "holder", "a", "b", "c"]
        assert broken.in_flight == 3

    play(story)


def capabilities(slots: int) -> Capabilities:
    return Capabilities(model="any", parallel_replies=slots)


def _now() -> float:
    return asyncio.get_running_loop().time()
