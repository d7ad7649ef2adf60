"""The fault proxy before a real server: each bad condition is felt, and a healed link is a good one again."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos.proxy import GOOD, Conditions, FaultProxy
from tests.fixtures.waiting import eventually

_BIG = bytes(range(256)) * 4096
_PATIENCE_SECONDS = 10.0
_A_WHILE_SECONDS = 0.3


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass  # what these tests are about
    finally:
        writer.close()


@pytest_asyncio.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """Before a server that says what it is told."""
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with FaultProxy("echo", server.sockets[0].getsockname()[1]) as opened:
        yield opened
    server.close()
    await server.wait_closed()


class _Line:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, text: bytes) -> bytes:
        """What comes back for it."""
        self.writer.write(text)
        return await _soon(self.reader.readexactly(len(text)))


async def _soon(work: Awaitable[bytes]) -> bytes:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        return await work


@asynccontextmanager
async def _line(proxy: FaultProxy) -> AsyncIterator[_Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield _Line(reader, writer)
    finally:
        writer.transport.abort()


async def test_every_byte_passes_unchanged_when_the_link_is_good(proxy: FaultProxy) -> None:
    async with _line(proxy) as line:
        sending = asyncio.create_task(line.say(_BIG))
        assert await sending == _BIG


async def test_every_byte_passes_when_the_target_is_a_unix_socket(tmp_path: Path) -> None:
    server = await asyncio.start_unix_server(_echo, tmp_path / "echo.sock")
    async with FaultProxy("echo", tmp_path / "echo.sock") as proxy, _line(proxy) as line:
        assert await line.say(b"over there") == b"over there"
    server.close()
    await server.wait_closed()


async def test_answer_takes_longer_when_the_link_has_latency(proxy: FaultProxy) -> None:
    proxy.conditions = Conditions(latency_seconds=0.1, jitter_seconds=0.05)
    async with _line(proxy) as line:
        began_at = time.monotonic()
        assert await line.say(b"hello") == b"hello"
        assert time.monotonic() - began_at >= 0.2


async def test_much_takes_longer_than_little_when_the_link_is_narrow(proxy: FaultProxy) -> None:
    proxy.conditions = Conditions(bytes_per_second=100_000)
    async with _line(proxy) as line:
        began_at = time.monotonic()
        assert await line.say(_BIG[:20_000]) == _BIG[:20_000]
        assert time.monotonic() - began_at >= 0.4


async def test_nothing_arrives_and_nothing_closes_when_the_link_is_stalled(proxy: FaultProxy) -> None:
    async with _line(proxy) as line:
        assert await line.say(b"before") == b"before"
        proxy.conditions = Conditions(is_stalled=True)
        line.writer.write(b"meanwhile")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(_A_WHILE_SECONDS):
                await line.reader.read(1)
        proxy.conditions = GOOD
        # Late, as after a partition: what was sent is not lost.
        assert await _soon(line.reader.readexactly(9)) == b"meanwhile"


async def test_new_connections_hang_too_when_the_link_is_stalled(proxy: FaultProxy) -> None:
    proxy.conditions = Conditions(is_stalled=True)
    async with _line(proxy) as line:
        line.writer.write(b"hello")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(_A_WHILE_SECONDS):
                await line.reader.read(1)


async def test_open_connections_get_a_reset_when_the_link_is_reset(proxy: FaultProxy) -> None:
    async with _line(proxy) as line:
        assert await line.say(b"before") == b"before"
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await _soon(line.reader.read(1))
    async with _line(proxy) as line:
        assert await line.say(b"after") == b"after"


async def test_new_connections_get_a_reset_when_the_link_refuses(proxy: FaultProxy) -> None:
    async with _line(proxy) as before:
        assert await before.say(b"before") == b"before"
        proxy.conditions = Conditions(is_refusing=True)
        with pytest.raises(ConnectionError):
            async with _line(proxy) as line:
                await line.say(b"hello")
        assert await before.say(b"still") == b"still"


async def test_connection_is_cut_when_it_has_brought_so_many_bytes(proxy: FaultProxy) -> None:
    proxy.conditions = Conditions(cut_after_bytes=10)
    async with _line(proxy) as line:
        line.writer.write(b"0123456789abcdef")
        # A reset may overtake what was sent before it, so how much arrives is not certain; the end is.
        with pytest.raises(ConnectionResetError):
            await _soon(line.reader.readexactly(11))


async def test_close_is_learnt_late_when_the_link_closes_slowly(proxy: FaultProxy) -> None:
    proxy.conditions = Conditions(close_seconds=_A_WHILE_SECONDS)
    async with _line(proxy) as line:
        assert await line.say(b"hello") == b"hello"
        began_at = time.monotonic()
        line.writer.write_eof()
        assert await _soon(line.reader.read()) == b""
        assert time.monotonic() - began_at >= _A_WHILE_SECONDS


async def test_connection_is_reset_when_nobody_listens_behind_the_proxy(tmp_path: Path) -> None:
    async with FaultProxy("nobody", tmp_path / "nobody.sock") as proxy:
        with pytest.raises(ConnectionError):
            async with _line(proxy) as line:
                await line.say(b"hello")


async def test_no_link_is_left_when_its_callers_have_gone(proxy: FaultProxy) -> None:
    for _ in range(20):
        async with _line(proxy) as line:
            await line.say(b"hello")

    async def are_gone() -> bool:
        return proxy.open_links == 0

    await eventually(are_gone, seconds=_PATIENCE_SECONDS, what="no link is left")
