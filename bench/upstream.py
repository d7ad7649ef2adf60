"""A model server as LM Studio is one, for measuring: first token at once, the others at a steady pace.

Each token holds the time it was sent, so that a watcher at the other end knows its age: see `token_ages`.
`python -m bench.upstream PORT TOKENS TOKENS_PER_SECOND`.
"""

import asyncio
import re
import sys
import time
from collections.abc import Sequence
from typing import cast

import httptools
import orjson
import uvloop

MODEL = "bench-model"
_CONTEXT_TOKENS = 131_072
_STAMP = re.compile(r"t(\d{5}) ")
_STAMP_WRAPS_AT = 100_000
"""Milliseconds; an age can be told while it is less."""

_NATIVE_MODELS = {
    "models": [
        {
            "type": "llm",
            "publisher": "bench",
            "key": MODEL,
            "display_name": MODEL,
            "loaded_instances": [{"id": MODEL, "config": {"context_length": _CONTEXT_TOKENS, "parallel": 4096}}],
            "max_context_length": _CONTEXT_TOKENS,
            "format": "gguf",
        }
    ]
}
_OPENAI_MODELS = {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "bench"}]}


def token_ages(text: str, now_seconds: float) -> list[float]:
    """Age in milliseconds of each token in `text`; `now_seconds` is of `time.monotonic`, the same for all processes."""
    now = now_seconds * 1000
    return [(now - int(stamp)) % _STAMP_WRAPS_AT for stamp in _STAMP.findall(text)]


class _Stream:
    """One completion on its way out."""

    def __init__(self, transport: asyncio.Transport, *, tokens: int, interval_seconds: float) -> None:
        self._transport = transport
        self._left = tokens
        self._interval_seconds = interval_seconds
        self._tokens = tokens
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time()
        transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            + _chunk({"role": "assistant", "content": ""})
        )
        self.send_next()

    def send_next(self) -> None:
        if self._transport.is_closing():
            return
        stamp = int(time.monotonic() * 1000) % _STAMP_WRAPS_AT
        self._left -= 1
        event = _chunk({"content": f"t{stamp:05d} "})
        if self._left > 0:
            self._transport.write(event)
            self._due += self._interval_seconds
            self._loop.call_at(self._due, self.send_next)
        else:
            usage = {"prompt_tokens": 100, "completion_tokens": self._tokens, "total_tokens": 100 + self._tokens}
            end = _chunk({}, finish_reason="stop") + _event({"choices": [], "model": MODEL, "usage": usage})
            self._transport.write(event + end + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")


class _Connection(asyncio.Protocol):
    _transport: asyncio.Transport

    def __init__(self, tokens: int, interval_seconds: float) -> None:
        self._tokens = tokens
        self._interval_seconds = interval_seconds
        self._parser = httptools.HttpRequestParser(self)
        self._path = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from it

    def data_received(self, received: bytes) -> None:
        self._parser.feed_data(received)

    def on_url(self, url: bytes) -> None:
        self._path = url.partition(b"?")[0]

    def on_message_complete(self) -> None:
        if self._path == b"/v1/chat/completions":
            _Stream(self._transport, tokens=self._tokens, interval_seconds=self._interval_seconds)
        else:
            listing = {b"/api/v1/models": _NATIVE_MODELS, b"/v1/models": _OPENAI_MODELS}.get(self._path)
            body = orjson.dumps(listing or {"error": "unknown path"})
            status = b"200 OK" if listing else b"404 Not Found"
            head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
            self._transport.write(head + body)


def _chunk(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    return _event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}], "model": MODEL})


def _event(fields: dict[str, object]) -> bytes:
    return _framed(
        b"data: "
        + orjson.dumps({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0} | fields)
        + b"\n\n"
    )


def _framed(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


async def serve(port: int, *, tokens: int, tokens_per_second: float) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: _Connection(tokens, 1 / tokens_per_second), "127.0.0.1", port, backlog=2048
    )
    await server.serve_forever()


def main(arguments: Sequence[str]) -> None:
    port, tokens, tokens_per_second = arguments
    uvloop.run(serve(int(port), tokens=int(tokens), tokens_per_second=float(tokens_per_second)))


if __name__ == "__main__":
    main(sys.argv[1:])
