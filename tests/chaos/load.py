"""The clients of a run, in a process of their own: `python -m tests.chaos.load`, with a `Load` as JSON on its input.

An open loop: operations begin when they are due, however slow the service is. Each is made by an idle caller or a
new one; a caller whose outcome stayed unknown is used no more, and what it posted is posted again by others.
"""

import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import aiohttp
import orjson
import uvloop

from tests.chaos.caller import Caller
from tests.chaos.history import HistoryWriter
from tests.chaos.knowledge import Knowledge
from tests.chaos.operations import Attempt, Operations

_POSTS_PER_USER_AND_MINUTE = 40
"""Well below the limit of 100, so that posts that are made again fit too."""
_CONVERSATIONS_EACH = 2
_SECONDS_TO_LEARN = 60.0
"""How long it is tried to learn an unknown outcome."""
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    urls: tuple[str, ...]
    folder: str
    name: str
    seed: int
    posts_per_second: float
    seconds: float


class _Clients:
    def __init__(self, load: Load, session: aiohttp.ClientSession, history: HistoryWriter) -> None:
        self._load = load
        self._session = session
        self._history = history
        self._dice = random.Random(f"{load.name} {load.seed}")
        users = max(4, int(load.posts_per_second * 60 / _POSTS_PER_USER_AND_MINUTE))
        knowledge = Knowledge.of(load.name, users=users, conversations_each=_CONVERSATIONS_EACH, dice=self._dice)
        self._operations = Operations(load.urls, knowledge, self._dice)
        self._idle: list[Caller] = []
        self._names = count(1)
        self._running: set[asyncio.Task[None]] = set()
        does = self._operations
        self._beside: list[tuple[float, Callable[[Caller], Awaitable[object]]]] = [
            (0.20, does.get),
            (0.10, does.get_reply),
            (0.12, does.watch),
            (0.05, does.list_walk),
            (0.04, does.foreign_read),
            (0.03, does.conflict),
            (0.03, does.delete),
            (0.02, does.restore),
            (0.03, does.cancel),
            (0.03, does.variant),
        ]
        """So many of each for one post."""

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._load.seconds
        due = loop.time()
        while due < ends_at:
            await asyncio.sleep(max(0.0, due - loop.time()))
            self._start(self._post())
            for share, operation in self._beside:
                if self._dice.random() < share:
                    self._start(self._once(operation))
            due += self._dice.expovariate(self._load.posts_per_second)
        while self._running:
            await asyncio.wait(self._running)

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            # A client that cannot make sense of an answer is a finding, not an unknown outcome.
            asyncio.get_running_loop().call_exception_handler({"message": "an operation failed", "exception": fault})
            sys.stderr.flush()

    async def _once(self, operation: Callable[[Caller], Awaitable[object]]) -> None:
        caller = self._caller()
        await operation(caller)
        self._give_back(caller)

    async def _post(self) -> None:
        caller = self._caller()
        unknown = await self._operations.post(caller)
        self._give_back(caller)
        if unknown is not None:
            await self._learn(unknown)

    async def _learn(self, unknown: Attempt) -> None:
        """Post it again under its key until there is an answer."""
        give_up_at = time.monotonic() + _SECONDS_TO_LEARN
        pause = _FIRST_PAUSE_SECONDS
        while time.monotonic() < give_up_at:
            await asyncio.sleep(pause * (0.5 + self._dice.random()))
            pause = min(_LONGEST_PAUSE_SECONDS, pause * 2)
            caller = self._caller()
            is_known = await self._operations.repost(caller, unknown)
            self._give_back(caller)
            if is_known:
                return

    def _caller(self) -> Caller:
        return self._idle.pop() if self._idle else Caller(self._session, self._history, str(next(self._names)))

    def _give_back(self, caller: Caller) -> None:
        if not caller.is_retired:
            self._idle.append(caller)


async def _run(load: Load) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    with HistoryWriter(Path(load.folder), load.name) as history:
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
            await _Clients(load, session, history).run()


def main() -> None:
    settings = orjson.loads(sys.stdin.buffer.read())
    uvloop.run(_run(Load(**settings)))


if __name__ == "__main__":
    main()
