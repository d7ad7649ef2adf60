"""A TCP proxy that makes links bad: slow, narrow, stalled, reset, cut short, slow to close. It never alters a byte."""

import asyncio
import random
import socket
import struct
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_PIECE_BYTES = 65_536

Target = int | Path
"""A loopback port, or a unix socket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """How a link is. The default is a good one."""

    latency_seconds: float = 0.0
    """Added to each piece, in either direction."""
    jitter_seconds: float = 0.0
    """Up to so much more."""
    bytes_per_second: float | None = None
    is_stalled: bool = False
    """Half-open: connections are taken and stay open, nothing arrives. What was sent arrives when it is over."""
    is_refusing: bool = False
    """New connections are reset at once."""
    cut_after_bytes: int | None = None
    """A connection is reset once it has brought so much back to whoever opened it."""
    close_seconds: float = 0.0
    """How long the other side learns nothing of a close."""


GOOD = Conditions()


class FaultProxy:
    """Listens on `port` of the loopback interface and passes on to `target`, which may change while it runs.

    New `conditions` hold at once, for open connections too.
    """

    def __init__(self, name: str, target: Target, *, seed: int = 0) -> None:
        self.name = name
        self.target = target
        self.port = 0
        self._random = random.Random(f"{name} {seed}")
        self._conditions = GOOD
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def conditions(self) -> Conditions:
        return self._conditions

    @conditions.setter
    def conditions(self, conditions: Conditions) -> None:
        self._conditions = conditions
        if conditions.is_stalled:
            self._flowing.clear()
        else:
            self._flowing.set()

    @property
    def open_links(self) -> int:
        return len(self._links)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def reset(self) -> None:
        """Break every open connection, on both sides, with a TCP RST."""
        for link in list(self._links):
            link.reset()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._conditions.is_refusing:
            abort_with_reset(writer)
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self.target, Path):
                there = await asyncio.open_unix_connection(self.target)
            else:
                there = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            abort_with_reset(writer)
            return
        link = _Link(writer, there[1])
        self._links.add(link)
        try:
            await _until_either_ends(
                self._pump(reader, there[1], link, counts=False), self._pump(there[0], writer, link, counts=True)
            )
            await asyncio.sleep(self._conditions.close_seconds)
            link.close()
        finally:
            link.abort()
            self._links.discard(link)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: "_Link", *, counts: bool
    ) -> None:
        passed = 0
        # RuntimeError is uvloop's word for writing to a connection that has gone.
        with suppress(OSError, RuntimeError):
            while piece := await reader.read(_PIECE_BYTES):
                await self._delay(len(piece))
                await self._flowing.wait()
                most = self._conditions.cut_after_bytes
                if counts and most is not None and passed + len(piece) > most:
                    writer.write(piece[: max(0, most - passed)])
                    await writer.drain()
                    link.reset()
                    return
                passed += len(piece)
                writer.write(piece)
                await writer.drain()
            # A close is news too: it does not pass a stalled link.
            await self._flowing.wait()

    async def _delay(self, size: int) -> None:
        now = self._conditions
        seconds = now.latency_seconds + now.jitter_seconds * self._random.random()
        if now.bytes_per_second is not None:
            seconds += size / now.bytes_per_second
        if seconds:
            await asyncio.sleep(seconds)


class _Link:
    """The two connections of one link."""

    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self._sides = (near, far)

    def reset(self) -> None:
        for side in self._sides:
            abort_with_reset(side)

    def close(self) -> None:
        """What was written is still delivered."""
        for side in self._sides:
            side.close()

    def abort(self) -> None:
        for side in self._sides:
            if not side.is_closing():
                side.transport.abort()


def abort_with_reset(writer: asyncio.StreamWriter) -> None:
    """SO_LINGER with no time turns a close into a reset (socket(7))."""
    connection: socket.socket | None = writer.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX:
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _until_either_ends(*pumps: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.ensure_future(pump) for pump in pumps]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
