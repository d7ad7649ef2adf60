"""A raw HTTP server that misbehaves on purpose: each address plays a list of steps, byte for byte as written."""

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import orjson


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Until:
    """Nothing before `event` is set."""

    event: asyncio.Event


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing more, until the caller goes away."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection with a TCP RST."""


Step = bytes | Pause | Until | Silence | Reset

CHAT, MODELS = "/v1/chat/completions", "/api/v1/models"
"""Where an LM Studio is asked."""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> dict[str, object]:
        parsed: dict[str, object] = orjson.loads(self.body)
        return parsed


Route = Sequence[Step] | Callable[[Request], Sequence[Step]]


@dataclass(slots=True)
class FaultServer:
    """Plays `routes[path]` to whoever asks for `path`, then closes. Unknown paths get LM Studio's answer."""

    routes: dict[str, Route] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    caller_left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a caller closes its connection during a `Silence`."""
    connections: int = 0
    keeps_connections: bool = False
    """Whether more is answered on a connection: what it plays must then say where its body ends."""
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        self.connections += 1
        try:
            while True:
                request = await _read_request(reader)
                self.requests.append(request)
                route = self.routes.get(request.path, UNKNOWN_ADDRESS)
                for step in route(request) if callable(route) else route:
                    await self._play(step, reader, writer)
                if not self.keeps_connections:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the caller went away, which is what some tests are about
        finally:
            self._open.discard(writer)
            writer.close()

    async def _play(self, step: Step, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match step:
            case bytes():
                if writer.is_closing():
                    raise ConnectionResetError  # as `drain` says it; uvloop's `write` says it otherwise
                writer.write(step)
                await writer.drain()
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Until(event_):
                await event_.wait()
            case Silence():
                await reader.read()
                self.caller_left.set()
            case Reset():
                connection: socket.socket = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    pairs = (line.split(": ", 1) for line in head[1:] if line)
    headers = {name.lower(): value for name, value in pairs}
    return Request(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


def answer(status: int, body: object, headers: Mapping[str, str] | None = None) -> bytes:
    """A whole answer. `body` is sent as it is if it is bytes, else as JSON."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    fields = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
    return _head(status, fields) + content


def stream_head(content_type: str = "text/event-stream") -> bytes:
    """The head of a stream that ends where the connection ends, so that every cut looks like a clean end."""
    return _head(200, {"Content-Type": content_type, "Connection": "close"})


def kept_stream(steps: Sequence[Step], *, last: Sequence[Step] = ()) -> list[Step]:
    """A stream whose connection can be used again: in chunks, with `last` before the chunk that ends them."""
    head = _head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
    chunks = [b"%x\r\n%b\r\n" % (len(step), step) if isinstance(step, bytes) else step for step in steps]
    return [head, *chunks, *last, b"0\r\n\r\n"]


def event(content: object) -> bytes:
    """One event. `content` is sent as it is if it is bytes, else as JSON."""
    return b"data: " + (content if isinstance(content, bytes) else orjson.dumps(content)) + b"\n\n"


def delta(text: str | None = None, *, finish: str | None = None, **more: object) -> bytes:
    """A chunk as LM Studio sends it."""
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": finish}
    return event({"object": "chat.completion.chunk", "model": "fault", "choices": [choice], **more})


def usage(prompt_tokens: int, completion_tokens: int) -> bytes:
    counts = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return event({"object": "chat.completion.chunk", "model": "fault", "choices": [], "usage": counts})


def lm_studio_models(**context_tokens: int) -> bytes:
    """`/api/v1/models` with these models loaded."""
    models = [
        {
            "type": "llm",
            "key": name,
            "loaded_instances": [{"id": name, "config": {"context_length": tokens}}],
            "max_context_length": 131_072,
        }
        for name, tokens in context_tokens.items()
    ]
    return answer(200, {"models": models})


def _head(status: int, fields: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


DONE = event(b"[DONE]")
WELL: Sequence[Step] = (stream_head(), delta("Hello"), delta(finish="stop"), usage(20, 1), DONE)
"""A whole reply of an LM Studio's."""
UNKNOWN_ADDRESS: Sequence[Step] = (answer(200, {"error": "Unexpected endpoint or method. (GET /)"}),)
"""What LM Studio says at an address it does not know: with status 200."""
