"""What workers write about their providers and the API reads."""

import asyncio

from message_service.ids import WorkerId
from message_service.providers.routing.board import BOARD_KEY, read_board, report, write_board
from message_service.providers.routing.target import Target
from message_service.providers.scripted import ScriptedProvider
from message_service.relay import Relay


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
