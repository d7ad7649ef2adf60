"""What workers write about their providers and the API reads."""

import asyncio
from dataclasses import asdict

import orjson

from message_service.ids import WorkerId
from message_service.providers.router import Router
from message_service.providers.routing.board import BOARD_KEY, read_board, report, write_board
from message_service.providers.routing.shared import SharedBreakers
from message_service.providers.routing.target import Target
from message_service.providers.routing.upkeep import keep_up
from message_service.providers.scripted import ScriptedProvider
from message_service.relay import Relay
from message_service.stopping import stop_tasks
from tests.fixtures.waiting import eventually


async def test_every_worker_is_read_as_it_wrote_and_the_dead_are_dropped(relay: Relay) -> None:
    target = Target(ScriptedProvider(10), host="gpu-1:1234")
    await target.look(timeout_seconds=5)
    one = report(target, asyncio.get_running_loop().time())
    assert await read_board(relay) == []
    await write_board(relay, WorkerId("wrk_1"), [one])
    await write_board(relay, WorkerId("wrk_2"), [one, one])
    assert sorted(await read_board(relay), key=len) == [[one], [one, one]]
    await relay.quick.hset(BOARD_KEY, "wrk_dead", "1000000000 []")
    assert len(await read_board(relay)) == 2
    await write_board(relay, WorkerId("wrk_1"), [one])
    assert sorted(await relay.quick.hkeys(BOARD_KEY)) == ["wrk_1", "wrk_2"]
    assert 0 < await relay.quick.ttl(BOARD_KEY) <= 60


async def test_workers_of_another_version_are_read_as_far_as_they_can_be(relay: Relay) -> None:
    one = report(Target(ScriptedProvider(10), host="gpu-1:1234"), asyncio.get_running_loop().time())
    known = asdict(one)
    newer, older = known | {"region": "of a newer version"}, {"provider": "scripted"}
    unheard_of = known | {"breaker": "of a newer version"}
    now, _ = await relay.quick.time()
    await relay.quick.hset(BOARD_KEY, "wrk_1", f"{now} {orjson.dumps([newer, older, unheard_of]).decode()}")
    await write_board(relay, WorkerId("wrk_2"), [one])
    assert await read_board(relay) == [[one], [one]]


class BreaksOnce(SharedBreakers):
    runs = 0

    async def run(self) -> None:
        self.runs += 1
        if self.runs == 1:
            raise ValueError("something of a newer version")
        await super().run()


async def test_upkeep_goes_on_when_one_of_its_duties_breaks(relay: Relay) -> None:
    targets = [Target(ScriptedProvider(10), host="gpu-1:1234")]
    shared = BreaksOnce(relay, targets)
    running = asyncio.create_task(keep_up(Router(targets), shared, relay, WorkerId("wrk_1")))

    async def has_begun_again() -> bool:
        return shared.runs == 2

    try:
        await eventually(has_begun_again, seconds=10, what="the duty that broke has begun again")
        assert len(await read_board(relay)) == 1
        assert not running.done()
    finally:
        await stop_tasks([running])
