"""`reader`: CPU time to read one chunk of a provider's stream, by our adapters and by the vendors' own clients."""

import asyncio
import multiprocessing
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from multiprocessing.connection import Connection
from typing import Any

import orjson
from pydantic import SecretStr

from bench.figures import Figure, at_most_times_peer
from bench.scope import Scope
from message_service.messages.message import Role
from message_service.providers.anthropic import AnthropicProvider
from message_service.providers.connections import provider_session
from message_service.providers.lm_studio import LmStudioProvider
from message_service.providers.openai import OpenAiProvider
from message_service.providers.provider import Prompt, Provider, TextDelta, Turn
from message_service.providers.reply_stream import Patience

_CHUNKS = 2000
_STREAMS = 5
_BOUND = 0.5
_PROMPT = Prompt(instructions=None, turns=(Turn(Role.USER, "Hi"),), prompt_tokens=1, max_output_tokens=4000)

Read = Callable[[], Awaitable[int]]


def reader(scope: Scope) -> list[Figure]:
    parent, child = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(child,), daemon=True)
    server.start()
    try:
        return asyncio.run(_measure(scope, f"http://127.0.0.1:{parent.recv()}"))
    finally:
        server.kill()
        server.join()


async def _measure(scope: Scope, url: str) -> list[Figure]:
    # Here, because they take seconds to import and other benchmarks do without them.
    import anthropic
    import openai

    figures = []
    patience = Patience(60, 60)
    async with (
        provider_session() as session,
        openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as openai_client,
        anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as anthropic_client,
    ):
        pairs: dict[str, tuple[Provider, Callable[[], Awaitable[AsyncIterator[Any]]]]] = {
            "chat completions": (
                LmStudioProvider(session, url, SecretStr("k"), "m", 60, 60),
                lambda: openai_client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "Hi"}], stream=True
                ),
            ),
            "Responses": (
                OpenAiProvider(session, url, SecretStr("k"), "m", patience, dialect="responses"),
                lambda: openai_client.responses.create(model="m", input="Hi", stream=True),
            ),
            "Messages": (
                AnthropicProvider(session, url, SecretStr("k"), "m", patience, version="2026-10-21"),
                lambda: anthropic_client.messages.create(
                    model="m", max_tokens=4000, messages=[{"role": "user", "content": "Hi"}], stream=True
                ),
            ),
        }
        for name, (provider, open_stream) in pairs.items():
            ours: list[float] = []
            theirs: list[float] = []
            sides: tuple[tuple[list[float], Read], ...] = (
                (ours, lambda provider=provider: _read_ours(provider)),  # type: ignore[misc]  # bound at once
                (theirs, lambda open_stream=open_stream: _read_theirs(open_stream)),  # type: ignore[misc]  # bound at once
            )
            for _, read in sides:
                await read()  # warm
            for round_number in range(scope.rounds):
                for samples, read in sides:
                    samples.append(await _microseconds_a_chunk(read))
                scope.say(f"reader, {name}, round {round_number + 1}: {ours[-1]:.1f} us, their client {theirs[-1]:.1f}")
            figures.append(
                Figure(
                    benchmark="reader",
                    name=f"{name}: CPU a chunk, beside the vendor's client",
                    unit="us",
                    ours=tuple(ours),
                    peer=tuple(theirs),
                    target=at_most_times_peer(_BOUND),
                )
            )
    return figures


async def _microseconds_a_chunk(read: Read) -> float:
    begun = time.process_time()
    for _ in range(_STREAMS):
        if await read() < _CHUNKS:
            raise RuntimeError("a stream was not whole")
    return (time.process_time() - begun) / (_STREAMS * _CHUNKS) * 1e6


async def _read_ours(provider: Provider) -> int:
    return sum([event.tokens async for event in provider.stream(_PROMPT) if isinstance(event, TextDelta)])


async def _read_theirs(open_stream: Callable[[], Awaitable[AsyncIterator[Any]]]) -> int:
    return len([event async for event in await open_stream()])


def _serve(parent: Connection) -> None:
    """In a process of its own, so that only reading is measured."""
    asyncio.run(_serving(parent))


async def _serving(parent: Connection) -> None:
    bodies = {path.encode(): list(pieces) for path, pieces in _streams().items()}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return writer.close()
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in bodies[head.split(b" ")[1]]:
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                await writer.drain()
                await asyncio.sleep(0)
            writer.write(b"0\r\n\r\n")

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    parent.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _streams() -> dict[str, list[bytes]]:
    """As the vendors send them: one event a token."""
    texts = [f"word{number} " for number in range(_CHUNKS)]
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    usage = {"input_tokens": 1, "output_tokens": _CHUNKS, "total_tokens": _CHUNKS + 1}
    response = {"id": "resp_1", "object": "response", "model": "m", "output": [], "status": "completed", "usage": usage}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m", "usage": usage}
    return {
        "/v1/chat/completions": [
            *(
                _event({**common, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
                for text in texts
            ),
            _event({**common, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
            b"data: [DONE]\n\n",
        ],
        "/v1/responses": [
            _named("response.created", sequence_number=0, response={**response, "status": "in_progress"}),
            *(
                _named(
                    "response.output_text.delta",
                    sequence_number=number,
                    item_id="msg_1",
                    output_index=0,
                    content_index=0,
                    delta=text,
                    logprobs=[],
                )
                for number, text in enumerate(texts, 1)
            ),
            _named("response.completed", sequence_number=_CHUNKS + 1, response=response),
        ],
        "/v1/messages": [
            _named("message_start", message=message),
            _named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
            *(_named("content_block_delta", index=0, delta={"type": "text_delta", "text": text}) for text in texts),
            _named("content_block_stop", index=0),
            _named("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": _CHUNKS}),
            _named("message_stop"),
        ],
    }


def _event(content: object) -> bytes:
    return b"data: " + orjson.dumps(content) + b"\n\n"


def _named(kind: str, **fields: object) -> bytes:
    return b"event: %s\n%s" % (kind.encode(), _event({"type": kind, **fields}))
