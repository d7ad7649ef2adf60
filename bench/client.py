"""A lean HTTP/1.1 client, one connection a request: cheap enough to read a thousand event streams in one process."""

import asyncio
from collections.abc import Callable, Mapping
from typing import cast

import httptools
import orjson

OnEvent = Callable[[bytes, bytes], bool]
"""Takes the name and the data of an event; answers whether it has seen enough."""


class RequestFailed(RuntimeError):
    """The answer has another status than it must have, or ended too early."""


class _Exchange(asyncio.Protocol):
    """Sends one request and hands on the body of its answer as it comes."""

    def __init__(
        self, request: bytes, expected_status: int, on_body: Callable[[bytes], bool], done: asyncio.Future[None]
    ) -> None:
        self._request = request
        self._expected_status = expected_status
        self._on_body = on_body
        self._done = done
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from it
        self._transport.write(self._request)

    def data_received(self, received: bytes) -> None:
        self._parser.feed_data(received)

    def on_body(self, body: bytes) -> None:
        status = self._parser.get_status_code()
        if status != self._expected_status:
            self._end(RequestFailed(f"{status} instead of {self._expected_status}: {body[:1000].decode()}"))
        elif not self._done.done() and self._on_body(body):
            self._end(None)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        self._end(None if status == self._expected_status else RequestFailed(f"{status} without a body"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(RequestFailed(f"the connection was lost: {exc}"))

    def _end(self, fault: Exception | None) -> None:
        if self._done.done():
            return
        if fault is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(fault)
        if self._transport is not None:
            self._transport.close()


async def fetch(port: int, request: bytes, *, expected_status: int) -> bytes:
    """The whole body. Raises `RequestFailed`."""
    body = bytearray()

    def collect(received: bytes) -> bool:
        body.extend(received)
        return False

    await _exchange(port, request, expected_status, collect)
    return bytes(body)


async def watch(port: int, request: bytes, on_event: OnEvent) -> None:
    """Read server-sent events until `on_event` has seen enough. Raises `RequestFailed` when they end before."""
    unread = b""
    is_enough = False

    def read(received: bytes) -> bool:
        nonlocal unread, is_enough
        *events, unread = (unread + received).split(b"\n\n")
        for event in events:
            if on_event(*_name_and_data(event)):
                is_enough = True
                break
        return is_enough

    await _exchange(port, request, 200, read)
    if not is_enough:
        raise RequestFailed(f"the event stream ended early, with {unread[-200:]!r}")


def get(path: str, user: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-User-Id: {user}\r\n\r\n".encode()


def post(path: str, body: Mapping[str, object], user: str, headers: Mapping[str, str] | None = None) -> bytes:
    encoded = orjson.dumps(body)
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-User-Id: {user}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(encoded)}\r\n{more}\r\n"
    )
    return head.encode() + encoded


async def _exchange(port: int, request: bytes, expected_status: int, on_body: Callable[[bytes], bool]) -> None:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    await loop.create_connection(lambda: _Exchange(request, expected_status, on_body, done), "127.0.0.1", port)
    await done


def _name_and_data(event: bytes) -> tuple[bytes, bytes]:
    """Both empty for a comment."""
    name = body = b""
    for line in event.split(b"\n"):
        if line.startswith(b"event: "):
            name = line[7:]
        elif line.startswith(b"data: "):
            body = line[6:]
    return name, body
