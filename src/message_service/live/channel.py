"""The channel of a running reply: a short Redis stream that its worker writes and any process can read.

Redis keys: `message_service:live:{<lane>}:<reply id>`, a stream whose entry ids are positions. It lives
as long as the reply may run, and five minutes after its end. Replies are spread over lanes, each with a
hash tag of its own, so that one command can read all watched replies of a lane.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from typing import Any
from zlib import crc32

import orjson
from redis.exceptions import ResponseError

from message_service.coalesce import Coalescer
from message_service.errors import ClaimLost, MessageServiceError, RelayUnavailable
from message_service.ids import ReplyId
from message_service.live.continuity import Continuity
from message_service.live.event import (
    START,
    Began,
    Counted,
    Ended,
    LiveEvent,
    Placed,
    Position,
    ProviderSwitched,
    Queued,
    Reset,
    Text,
)
from message_service.logs import log
from message_service.messages.reply import Usage
from message_service.relay import PREFIX, Relay

LANES = 8
_KEPT_AFTER_END_SECONDS = 300
_MOST_ENTRIES = 20_000
_MOST_READS_AT_ONCE = 16
"""Each may bring a whole reply. More would leave no connection to those who write."""
_USAGE_FIELDS = len(fields(Usage))


@dataclass(frozen=True, slots=True)
class _Append:
    key: str
    placed: Placed
    kept_seconds: int


class Channel:
    """Appends for workers and plain reads; `follower` has the reading that waits."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._appends: Coalescer[_Append, None] = Coalescer(self._append_all, max_items=512, max_in_flight=1)
        self._reads = asyncio.Semaphore(_MOST_READS_AT_ONCE)
        self.writers = 0
        """Replies being written here."""

    def append(self, reply_id: ReplyId, placed: Placed, *, kept_seconds: int) -> asyncio.Future[None]:
        """Show watchers what happened, soon.

        The future raises `ClaimLost` when a later take has begun (whoever wrote this is stale), and
        `RelayUnavailable` when watchers will have to do with the whole reply.
        """
        return self._appends.submit(_Append(channel_key(reply_id), placed, kept_seconds))

    async def end(self, reply_id: ReplyId, position: Position) -> None:
        """Tell watchers that the store has the rest. Never fails: they find out by themselves."""
        try:
            await self.append(reply_id, Placed(position, Ended()), kept_seconds=_KEPT_AFTER_END_SECONDS)
        except MessageServiceError:
            return

    async def read(self, reply_id: ReplyId, *, after: Position, up_to: str = "+") -> list[Placed]:
        """What has been appended since. Raises `RelayUnavailable`."""
        async with self._reads:
            with self._relay.reaching():
                entries: Any = await self._relay.quick.xrange(channel_key(reply_id), min=f"({after}", max=up_to)
        return [decode(entry_id, fields) for entry_id, fields in entries]

    async def text_so_far(self, reply_id: ReplyId) -> str:
        """The text of the newest take, as far as no piece of it is missing. Raises `RelayUnavailable`."""
        text = ""
        continuity = Continuity(START)
        for placed in await self.read(reply_id, after=START):
            for shown in continuity.admit(placed):
                if isinstance(shown.event, Reset):
                    text = ""
                elif isinstance(shown.event, Text):
                    text += shown.event.text
        return text

    async def drain(self) -> None:
        await self._appends.drain()

    async def _append_all(self, appends: Sequence[_Append]) -> Sequence[Exception | None]:
        with self._relay.reaching():
            pipeline = self._relay.quick.pipeline(transaction=False)
            places: list[int] = []
            for append in appends:
                position, event = append.placed.position, append.placed.event
                places.append(len(pipeline))
                pipeline.xadd(append.key, encode(event), id=str(position), maxlen=_MOST_ENTRIES, approximate=True)
                if not isinstance(event, Text):
                    pipeline.expire(append.key, append.kept_seconds)
            answers = await pipeline.execute(raise_on_error=False)
        added = (answers[place] for place in places)
        return [_refusal(answer) if isinstance(answer, Exception) else None for answer in added]


def channel_key(reply_id: ReplyId) -> str:
    return f"{PREFIX}:live:{{{lane_of(reply_id)}}}:{reply_id}"


def lane_of(reply_id: ReplyId) -> int:
    return crc32(reply_id.encode()) % LANES


def encode(event: LiveEvent) -> dict[Any, Any]:
    match event:
        case Text(text):
            return {"text": text}
        case Began(provider, model, attempt, host, started_at, input_tokens):
            return {"began": orjson.dumps([provider, model, attempt, host, started_at, input_tokens])}
        case Reset(reason):
            return {"reset": reason}
        case ProviderSwitched(from_provider, to_provider, reason):
            return {"switched": orjson.dumps([from_provider, to_provider, reason])}
        case Counted(usage):
            return {"usage": orjson.dumps(astuple(usage))}
        case Ended():
            return {"ended": ""}
        case Queued():
            raise ValueError("waiting is told by the store, not by a worker")


def decode(entry_id: str, entry: Mapping[str, str]) -> Placed:
    """What a newer version adds to an event is passed over. One that cannot be read becomes `Ended`, which sends its
    watchers to the store, and they go on where the reply has not ended.
    """
    try:
        event = _event(*next(iter(entry.items())))
    except (StopIteration, KeyError, TypeError, ValueError) as fault:
        log.debug("live.unreadable", entry=entry_id, error=type(fault).__name__)
        event = Ended()
    return Placed(Position.parse(entry_id), event)


def _event(kind: str, value: str) -> LiveEvent:
    match kind:
        case "text":
            return Text(value)
        case "began":
            return _began(*orjson.loads(value))
        case "reset":
            return Reset(value)
        case "switched":
            return ProviderSwitched(*orjson.loads(value)[:3])
        case "usage":
            return Counted(Usage(*orjson.loads(value)[:_USAGE_FIELDS]))
        case _:
            return Ended()


def _began(
    provider: str,
    model: str,
    attempt: int,
    host: str | None = None,
    started_at: str | None = None,
    tokens: int = 0,
    *_newer: object,
) -> Began:
    """An older version wrote the first three only; what a newer one adds is passed over."""
    began_at = datetime.fromisoformat(started_at) if started_at is not None else None
    return Began(provider, model, attempt, host, began_at, tokens)


def _refusal(fault: Exception) -> Exception:
    if isinstance(fault, ResponseError) and "equal or smaller" in str(fault):
        return ClaimLost("A later take of this reply has begun.")
    return RelayUnavailable(str(fault))
