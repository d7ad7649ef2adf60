"""Who is answered first by a real model server of one slot, when many wait for it."""

import asyncio

import aiohttp
import orjson

from message_service.providers.router import Router
from message_service.providers.routing.breaker import Breaker, BreakerPolicy
from message_service.providers.routing.run import Route
from message_service.providers.routing.target import Target
from tests.contract.providers.fault_server import CHAT, WELL, FaultServer, Request, Step, Until
from tests.contract.providers.reading import Reading, prompt, read
from tests.contract.providers.routers import lm_studios
from tests.fixtures.waiting import eventually


class OneSlot:
    """A router over a server that answers one prompt at a time, the first not before `may_go_on`."""

    def __init__(self, session: aiohttp.ClientSession, server: FaultServer) -> None:
        self.may_go_on = asyncio.Event()
        self.answered: list[str] = []
        server.routes[CHAT] = self._play
        (provider,) = lm_studios(session, server)
        self.target = Target(provider, Breaker(BreakerPolicy()), most_in_flight=1)
        self._router = Router([self.target])

    def _play(self, request: Request) -> list[Step]:
        (turn,) = [text for text in orjson.loads(request.body)["messages"] if text["role"] == "user"]
        self.answered.append(turn["content"])
        return [Until(self.may_go_on), *WELL]

    def ask(self, text: str, kind: int = 0) -> "asyncio.Task[Reading]":
        return asyncio.create_task(read(self._router.stream(prompt(text), Route(rank=(kind, text)))))

    async def is_asked(self) -> None:
        async def look() -> bool:
            return bool(self.answered)

        await eventually(look, seconds=10, what="the server is asked")


async def test_replies_are_written_by_rank_when_they_wait_for_one_slot(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    slot = OneSlot(session, fault_server)
    asked = [slot.ask("first")]
    await slot.is_asked()
    asked += [slot.ask(text, kind) for text, kind in [("s2", 2), ("s1", 2), ("v1", 1), ("r2", 0), ("v2", 1), ("r1", 0)]]
    slot.may_go_on.set()
    assert [reading.text for reading in await asyncio.gather(*asked)] == ["Hello"] * 7
    assert slot.answered == ["first", "r1", "r2", "v1", "v2", "s1", "s2"]
    assert slot.target.in_flight == 0


async def test_next_reply_is_written_when_one_that_waits_is_cancelled(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    slot = OneSlot(session, fault_server)
    first = slot.ask("first")
    await slot.is_asked()
    one, other, last = slot.ask("a"), slot.ask("b"), slot.ask("c")
    await asyncio.sleep(0)  # all of them are in line now
    one.cancel()
    slot.may_go_on.set()
    await first
    other.cancel()  # it was handed the room in this instant
    assert (await last).text == "Hello"
    assert slot.answered == ["first", "c"]
    assert slot.target.in_flight == 0
