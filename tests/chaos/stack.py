"""Everything a run needs, as real processes behind bad links: stores, API processes, workers and a model server."""

import asyncio
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from message_service.embedded.child import Child, start_child, stop_children
from tests.chaos.model_server import ModelServer
from tests.chaos.proxy import GOOD, FaultProxy
from tests.chaos.stores import Stores
from tests.chaos.supervised import Place
from tests.fixtures.replica_set import Member, ReplicaSet
from tests.fixtures.service_processes import free_port

PREFIX = "MESSAGE_SERVICE_"
_TEND_SECONDS = 0.1
_LOOK_SECONDS = 0.1
_READY_SECONDS = 90.0
_STOP_SECONDS = 5.0

_SETTINGS = {
    "LOG_FORMAT": "json",
    "LOG_LEVEL": "warning",
    "PROVIDERS": "lm_studio,scripted",
    # A model server that hangs is given up soon, so that one fault does not hold replies up for a minute.
    "FIRST_TOKEN_TIMEOUT_SECONDS": "5",
    "TOKEN_TIMEOUT_SECONDS": "4",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    apis: int = 2
    workers: int = 2
    mongod_members: int = 1
    """1, or 3 for a replica set that can lose one."""
    settings: dict[str, str] = field(default_factory=dict)
    """Of the service, without the prefix; they go before those of the stack."""


class Stack:
    """Opened by `run_stack`. Processes are started from the main thread, and those that end are started again."""

    def __init__(self, folder: Path, size: Size, seed: int) -> None:
        self.folder = folder
        self.settings = {**_SETTINGS, **size.settings}
        self.database_name = f"chaos_{secrets.token_hex(4)}"
        self.replica_set: ReplicaSet | None = None
        self.stores = Stores(folder / "stores", with_mongod=size.mongod_members == 1)
        self.members: list[Place] = []
        if size.mongod_members > 1:
            (folder / "set").mkdir()
            self.replica_set = ReplicaSet(folder / "set", has_test_commands=True)
        self.model = ModelServer(seed)
        layout = self.stores.layout
        self.mongodb_link = FaultProxy("mongodb", layout.mongod_socket, seed=seed)
        self.redis_link = FaultProxy("redis", layout.redis_socket, seed=seed)
        self.model_link = FaultProxy("model_server", 0, seed=seed)
        self.api_links = [FaultProxy(f"api-{number}", 0, seed=seed) for number in range(1, size.apis + 1)]
        self.apis: list[Place] = []
        self.workers: list[Place] = []
        self._worker_count = size.workers
        self._starts = count(1)

    @property
    def mongodb_url(self) -> str:
        """Past the proxy."""
        return self.stores.layout.mongodb_url if self.replica_set is None else self.replica_set.url

    @property
    def mongod_urls(self) -> list[str]:
        """Of each member by itself."""
        return [self.mongodb_url] if self.replica_set is None else [one.url for one in self.replica_set.members]

    @property
    def links(self) -> list[FaultProxy]:
        return [self.mongodb_link, self.redis_link, self.model_link, *self.api_links]

    @property
    def places(self) -> list[Place]:
        return [*self.apis, *self.workers, *self.members, *self.stores.places]

    @property
    def api_urls(self) -> list[str]:
        """As clients reach them: through proxies."""
        return [f"http://127.0.0.1:{link.port}" for link in self.api_links]

    @property
    def bare_environment(self) -> dict[str, str]:
        """Ours, without settings of the service."""
        return {name: text for name, text in os.environ.items() if not name.startswith(PREFIX)}

    def start_stores(self) -> None:
        self.stores.await_ready()
        if self.replica_set is not None:
            self.replica_set.initiate()
            for number, member in enumerate(self.replica_set.members, 1):
                self.members.append(Place(f"mongod-{number}", partial(_running_or_started, member)))

    def start_service(self) -> None:
        for link in self.api_links:
            self.apis.append(Place(link.name, partial(self._launch_api, link)))
        for number in range(1, self._worker_count + 1):
            self.workers.append(Place(f"worker-{number}", partial(self._launch, f"worker-{number}", "work")))

    async def await_ready(self, *, seconds: float = _READY_SECONDS) -> None:
        """Until every API process says that it can serve, through its link."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            await asyncio.gather(*(_await_ready(session, url, seconds) for url in self.api_urls))

    async def await_up(self, names: Collection[str], *, seconds: float) -> None:
        """Until the API processes among them answer again, MongoDB has a primary, or time is up."""
        looks = [self._answers(link) for link in self.api_links if link.name in names]
        if "mongod" in names:
            looks.append(self._has_primary())
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*looks)

    async def _answers(self, link: FaultProxy) -> None:
        """Past its link, and by itself: whether MongoDB is there is another question."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{link.target}/health/live") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientError:
                    pass  # not there yet
                await asyncio.sleep(_LOOK_SECONDS)

    async def _has_primary(self) -> None:
        while True:
            client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
                self.mongodb_url, serverSelectionTimeoutMS=500, timeoutMS=500
            )
            async with client:
                with suppress(PyMongoError):
                    if (await client.admin.command("hello")).get("isWritablePrimary"):
                        return
            await asyncio.sleep(_LOOK_SECONDS)

    async def tend(self) -> None:
        """For ever: what ends is started again."""
        while True:
            for place in self.places:
                place.tend()
            await asyncio.sleep(_TEND_SECONDS)

    def heal(self) -> None:
        """Links are good, nobody is paused, the model server is well. What died is started by `tend`."""
        for link in self.links:
            link.conditions = GOOD
        self.model.heal()
        for place in self.places:
            place.send(signal.SIGCONT)

    def stop(self) -> None:
        self.heal()
        service = [place.child for place in (*self.apis, *self.workers)]
        stop_children(service, patience_seconds=_STOP_SECONDS)
        stores = [place.child for place in (*self.members, *self.stores.places)]
        stop_children(stores, patience_seconds=_STOP_SECONDS)
        if self.replica_set is not None:
            self.replica_set.stop()
        self.stores.release()

    def logs(self) -> Iterator[Path]:
        return self.folder.glob("*.log")

    def _environment(self) -> dict[str, str]:
        proxied = f"mongodb://127.0.0.1:{self.mongodb_link.port}/?directConnection=true"
        own = {
            **self.settings,
            "MONGODB_URL": proxied if self.replica_set is None else self.replica_set.url,
            "MONGODB_DATABASE": self.database_name,
            "REDIS_URL": self.stores.redis_url_at(self.redis_link.port),
            "LM_STUDIO_URL": f"http://127.0.0.1:{self.model_link.port}",
        }
        return {**self.bare_environment, **{PREFIX + name: text for name, text in own.items()}}

    def _launch_api(self, link: FaultProxy) -> Child:
        link.target = free_port()
        return self._launch(link.name, "serve", PORT=str(link.target))

    def _launch(self, name: str, command: str, **settings: str) -> Child:
        environment = self._environment() | {PREFIX + key: text for key, text in settings.items()}
        with (self.folder / f"{name}.{next(self._starts)}.log").open("wb") as output:
            arguments = [sys.executable, "-m", "message_service", command]
            return start_child(arguments, environment=environment, output=output)


@asynccontextmanager
async def run_stack(folder: Path, size: Size, *, seed: int) -> AsyncIterator[Stack]:
    """Ready to serve; gone when the context is left. Only for the main thread."""
    stack = Stack(folder, size, seed)
    with _stopping(stack):
        async with AsyncExitStack() as opened:
            await opened.enter_async_context(stack.model.server)
            stack.model_link.target = stack.model.port
            for link in stack.links:
                await opened.enter_async_context(link)
            stack.start_stores()
            stack.start_service()
            tending = asyncio.create_task(stack.tend())
            opened.callback(tending.cancel)
            await stack.await_ready()
            yield stack
            tending.cancel()


@contextmanager
def _stopping(stack: Stack) -> Iterator[None]:
    try:
        yield
    finally:
        stack.stop()


def _running_or_started(member: Member) -> Child:
    if not member.is_running:
        member.start()
    return member.child


async def _await_ready(session: aiohttp.ClientSession, url: str, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while True:
            try:
                async with session.get(f"{url}/health/ready") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass  # not there yet
            await asyncio.sleep(0.1)
