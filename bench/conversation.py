"""What a chat client does: ask for a reply, then watch it being written."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from bench import client
from bench.stack import Served
from bench.upstream import token_ages

TERMINAL_EVENTS = frozenset(
    {b"reply.completed", b"reply.incomplete", b"reply.cancelled", b"reply.blocked", b"reply.failed"}
)


@dataclass(slots=True)
class Watched:
    """What one watcher saw. Times are of `time.monotonic`, in seconds."""

    asked_at: float
    first_delta_at: float | None = None
    text: list[str] = field(default_factory=list)
    ended_with: bytes = b""
    stored_text: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether the reply came to its end and its deltas are the stored text, byte for byte."""
        return self.ended_with == b"reply.completed" and "".join(self.text) == self.stored_text

    @property
    def first_token_ms(self) -> float:
        """From sending the question to having the first text."""
        if self.first_delta_at is None:
            raise client.RequestFailed(f"no text came; the reply ended with {self.ended_with!r}")
        return (self.first_delta_at - self.asked_at) * 1000


async def ask_and_watch(
    served: Served, user: str, text: str, on_ages: Callable[[list[float]], None] = lambda _: None
) -> Watched:
    """Post a message that asks for a reply and watch it to its end.

    `on_ages` is told the age in milliseconds of each token that arrives. Raises `RequestFailed`.
    """
    body = {"conversation_id": f"c-{user}", "content": text, "reply": {}}
    watched = Watched(asked_at=time.monotonic())
    accepted = orjson.loads(
        await client.fetch(served.port, client.post("/v1/messages", body, user), expected_status=202)
    )

    unstamped = ""

    def on_event(name: bytes, raw: bytes) -> bool:
        nonlocal unstamped
        if name == b"reply.delta":
            arrived_at = time.monotonic()
            watched.first_delta_at = watched.first_delta_at or arrived_at
            delta = orjson.loads(raw)["text"]
            watched.text.append(delta)
            # A delta may end in the middle of a token, which then arrives with the next.
            tokens, space, unstamped = (unstamped + delta).rpartition(" ")
            on_ages(token_ages(tokens + space, arrived_at))
        elif name == b"reply.reset":
            watched.text.clear()
        elif name in TERMINAL_EVENTS:
            watched.ended_with = name
            watched.stored_text = orjson.loads(raw).get("message", {}).get("content", "")
            return True
        return False

    await client.watch(served.port, client.get(accepted["reply"]["stream_url"], user), on_event)
    return watched


async def ask_upstream(port: int, text: str) -> float:
    """Ask the model server itself and read to the end; returns the milliseconds until the first text."""
    body = {"model": "bench-model", "stream": True, "messages": [{"role": "user", "content": text}]}
    asked_at = time.monotonic()
    first_at: float | None = None

    def on_event(_: bytes, raw: bytes) -> bool:
        nonlocal first_at
        if raw == b"[DONE]":
            return True
        if first_at is None and b'"content":"t' in raw:
            first_at = time.monotonic()
        return False

    await client.watch(port, client.post("/v1/chat/completions", body, "nobody"), on_event)
    assert first_at is not None
    return (first_at - asked_at) * 1000
