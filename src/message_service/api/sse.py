"""Server-sent events: what a watcher sees as frames, on a connection that ends when it should."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from time import monotonic

import orjson
from prometheus_client import Gauge
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from message_service.api.errors import reply_problem
from message_service.api.wire import found_reply_json, usage_json
from message_service.errors import MessageServiceError
from message_service.journey.watch import Closed, Sight, Silence, WatchDesk, watch
from message_service.live.event import Began, Counted, Placed, Position, ProviderSwitched, Queued, Reset, Text
from message_service.live.follower import Subscription
from message_service.logs import log
from message_service.messages.reply import ReplyStatus
from message_service.store.replies import ReplyWithMessage

_KEEP_ALIVE_SECONDS = 15
_KEEP_ALIVE = b": still here\n\n"
# A client that lost us comes back soon, and not all of them at the same moment.
_DRAINING = b"retry: 500\n: the server is going away, resume with Last-Event-ID\n\n"

_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class EventStream(Response):
    """Watches a reply for one client. Pure ASGI, so that it hears of a client that left and lets go at once."""

    def __init__(self, found: ReplyWithMessage, after: Position, *, desk: WatchDesk, open_streams: Gauge) -> None:
        super().__init__()
        self._found = found
        self._after = after
        self._desk = desk
        self._open_streams = open_streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply_id = self._found.reply.id
        with self._open_streams.track_inprogress():
            async with self._desk.follower.subscribe(reply_id, after=self._after) as subscription:
                leaving = asyncio.create_task(_leave_with_the_client(receive, subscription))
                try:
                    await send({"type": "http.response.start", "status": 200, "headers": list(_STREAM_HEADERS)})
                    sights = watch(self._found, self._after, subscription=subscription, desk=self._desk)
                    async with aclosing(sights):
                        await self._send_frames(sights, scope, send)
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                finally:
                    leaving.cancel()

    async def _send_frames(self, sights: AsyncIterator[Sight], scope: Scope, send: Send) -> None:
        last_sent_at = monotonic()
        has_ended = False
        try:
            async for sight in sights:
                if isinstance(sight, Silence):
                    if monotonic() - last_sent_at < _KEEP_ALIVE_SECONDS:
                        continue
                    frame = _KEEP_ALIVE
                else:
                    has_ended = isinstance(sight, Closed)
                    frame = _frame(sight, scope)
                await send({"type": "http.response.body", "body": frame, "more_body": True})
                last_sent_at = monotonic()
        except MessageServiceError as fault:
            # The stream has begun, so the client is told to come back rather than given a status.
            log.warning("stream.broke_off", error=type(fault).__name__)
        if not has_ended:
            await send({"type": "http.response.body", "body": _DRAINING, "more_body": True})


async def _leave_with_the_client(receive: Receive, subscription: Subscription) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    subscription.close()


def _frame(sight: Placed | Closed, scope: Scope) -> bytes:
    name, content = _ending(sight, scope) if isinstance(sight, Closed) else _event(sight)
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (
        str(sight.position).encode(),
        name.encode(),
        orjson.dumps(content),
    )


def _ending(closed: Closed, scope: Scope) -> tuple[str, dict[str, object]]:
    reply = closed.found.reply
    name = f"reply.{reply.status.value}"
    if reply.status is ReplyStatus.FAILED and reply.error is not None:
        return name, reply_problem(reply.error, instance=scope["path"], request_id=scope["request_id"])
    return name, found_reply_json(closed.found)


def _event(placed: Placed) -> tuple[str, dict[str, object]]:
    match placed.event:
        case Text(text):
            return "reply.delta", {"text": text}
        case Queued(position):
            return "reply.queued", {"position": position}
        case Began(provider, model, attempt):
            return "reply.started", {"provider": provider, "model": model, "attempt": attempt}
        case Reset(reason):
            return "reply.reset", {"reason": reason}
        case ProviderSwitched(from_provider, to_provider, reason):
            return "provider.switched", {"from": from_provider, "to": to_provider, "reason": reason}
        case Counted(usage):
            return "usage", usage_json(usage)
        case ended:
            raise ValueError(f"not for watchers: {ended}")
