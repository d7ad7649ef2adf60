"""What a chat client does: ask for a reply, then watch it being written."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from bench import client
from bench.stack import Served
from bench.upstream import MODEL, token_ages

OnAges = Callable[[list[float]], None]
"""Is told the age in milliseconds of each token that arrives."""

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


async def ask_and_watch(served: Served, user: str, text: str, on_ages: OnAges = lambda _: None) -> Watched:
    """Post a message that asks for a reply and watch it to its end. Raises `RequestFailed`."""
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


@dataclass(slots=True)
class Completion:
    """What one client of OpenAI's chat completions saw."""

    tokens: int = 0
    first_token_ms: float = 0.0


async def complete(port: int, text: str, *, key: str = "none", on_ages: OnAges = lambda _: None) -> Completion:
    """Ask whoever speaks OpenAI's chat completions there, and read to the end. Raises `RequestFailed`."""
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": text}]}
    request = client.post("/v1/chat/completions", body, "nobody", {"Authorization": f"Bearer {key}"})
    asked_at = time.monotonic()
    seen = Completion()

    def on_event(_: bytes, raw: bytes) -> bool:
        if raw == b"[DONE]":
            return True
        choices = orjson.loads(raw)["choices"] if raw else None
        if choices and (ages := token_ages(choices[0]["delta"].get("content") or "", time.monotonic())):
            seen.first_token_ms = seen.first_token_ms or (time.monotonic() - asked_at) * 1000
            seen.tokens += len(ages)
            on_ages(ages)
        return False

    await client.watch(port, request, on_event)
    if not seen.tokens:
        raise client.RequestFailed("no text came")
    return seen
