"""One Redis reader a lane and process, fanned out to everyone who watches here.

Redis keys: `message_service:live:{<lane>}:wake:<process>`, a stream of one entry that ends a blocked
read early because somebody began to watch. It expires after a minute.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from redis.exceptions import ResponseError

from message_service.errors import RelayUnavailable
from message_service.ids import ReplyId
from message_service.live.channel import LANES, Channel, channel_key, decode, lane_of
from message_service.live.event import Placed, Position
from message_service.logs import log
from message_service.relay import BLOCK_SECONDS, PREFIX, Relay
from message_service.stopping import stop_tasks

_WAKE_KEPT_SECONDS = 60
# A read names every watched reply, and its price grows with them: with many, a reader pauses, so that each read
# brings much. A lane of 125 (a thousand watchers in all) is read 27 times a second at most.
_PAUSE_SECONDS_PER_WATCHER = 0.0003
_LONGEST_PAUSE_SECONDS = 0.05


class Subscription:
    """The events of one reply from some position on, as they come."""

    def __init__(self, channel: Channel, reply_id: ReplyId, after: Position) -> None:
        self._channel = channel
        self.reply_id = reply_id
        self.after = after
        self.catch_up_to: Position | None = None
        """Set when others are already being served further ahead: what lies between is read separately."""
        self._arrived: list[Placed] = []
        self._waiting: asyncio.Future[None] | None = None
        self.is_closed = False

    def deliver(self, placed: Placed) -> None:
        if placed.position > self.after:
            self._arrived.append(placed)
            self._wake()

    def close(self) -> None:
        """End the wait of whoever is in `next`: the watcher has left, or this process is going away."""
        self.is_closed = True
        self._wake()

    async def next(self, *, wait_seconds: float) -> list[Placed]:
        """What came since the last call, in order; empty after `wait_seconds` of silence.

        Raises `RelayUnavailable` when what this watcher missed cannot be read, after as long.
        """
        if self.catch_up_to is not None:
            try:
                missed = await self._channel.read(self.reply_id, after=self.after, up_to=str(self.catch_up_to))
            except RelayUnavailable:
                # It may fail at once, and whoever asks again at once would do nothing else while Redis is away.
                if not self.is_closed:
                    await self._wait(wait_seconds)
                raise
            self.catch_up_to = None
            if missed:
                return missed
        if not self._arrived and not self.is_closed:
            await self._wait(wait_seconds)
        arrived, self._arrived = self._arrived, []
        return arrived

    async def _wait(self, seconds: float) -> None:
        """Until something comes. A queue and a time-out of asyncio would take twice the time, for every token."""
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        timer = loop.call_later(seconds, self._wake)
        try:
            await self._waiting
        finally:
            timer.cancel()
            self._waiting = None

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class _Lane:
    """The watched replies of one lane, and the task that reads them."""

    def __init__(self, number: int, relay: Relay, process: str) -> None:
        self._relay = relay
        self._wake_key = f"{PREFIX}:live:{{{number}}}:wake:{process}"
        self._wake_cursor = "0"
        self._cursors: dict[str, Position] = {}
        self._subscriptions: defaultdict[str, set[Subscription]] = defaultdict(set)
        self._reader: asyncio.Task[None] | None = None
        self._is_reading = False

    async def join(self, subscription: Subscription) -> None:
        key = channel_key(subscription.reply_id)
        cursor = self._cursors.get(key)
        if cursor is None:
            self._cursors[key] = subscription.after
        elif subscription.after < cursor:
            subscription.catch_up_to = cursor
        self._subscriptions[key].add(subscription)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read_while_watched())
        elif self._is_reading and cursor is None:
            await self._wake()

    def leave(self, subscription: Subscription) -> None:
        key = channel_key(subscription.reply_id)
        self._subscriptions[key].discard(subscription)
        if not self._subscriptions[key]:
            del self._subscriptions[key]
            del self._cursors[key]

    def send_away(self) -> None:
        for subscriptions in self._subscriptions.values():
            for subscription in subscriptions:
                subscription.close()

    async def close(self) -> None:
        if self._reader is not None:
            await stop_tasks([self._reader])

    async def _wake(self) -> None:
        try:
            with self._relay.reaching():
                pipeline = self._relay.quick.pipeline(transaction=False)
                pipeline.xadd(self._wake_key, {"wake": ""}, maxlen=1, approximate=False)
                pipeline.expire(self._wake_key, _WAKE_KEPT_SECONDS)
                await pipeline.execute()
        except (RelayUnavailable, ResponseError):
            return  # gone, or full: the reader looks up within a second anyway

    async def _read_while_watched(self) -> None:
        while self._cursors:
            try:
                await self._read_once()
            except RelayUnavailable:
                log.debug("live.unreachable")
                await asyncio.sleep(BLOCK_SECONDS)  # watchers meanwhile ask the store
            await asyncio.sleep(min(_LONGEST_PAUSE_SECONDS, _PAUSE_SECONDS_PER_WATCHER * len(self._cursors)))

    async def _read_once(self) -> None:
        asked = dict(self._cursors)
        wanted: dict[Any, Any] = {self._wake_key: self._wake_cursor} | {
            key: str(cursor) for key, cursor in asked.items()
        }
        self._is_reading = True
        try:
            with self._relay.reaching(is_blocking=True):
                answer: Any = await self._relay.patient.xread(wanted, count=500, block=int(BLOCK_SECONDS * 1000))
        finally:
            self._is_reading = False
        for key, entries in dict(answer or []).items():
            if key == self._wake_key:
                self._wake_cursor = entries[-1][0]
            elif key in self._cursors and self._cursors[key] >= asked[key]:
                # Where somebody joined further back meanwhile, the next read begins there.
                self._hand_out(key, [decode(entry_id, fields) for entry_id, fields in entries])

    def _hand_out(self, key: str, arrived: list[Placed]) -> None:
        for placed in arrived:
            # Somebody may have left and another joined further ahead while the read was under way.
            if placed.position > self._cursors[key]:
                for subscription in self._subscriptions[key]:
                    subscription.deliver(placed)
                self._cursors[key] = placed.position


class Follower:
    """Where watchers of this process subscribe."""

    def __init__(self, relay: Relay, channel: Channel) -> None:
        self._channel = channel
        self._is_closing = False
        process = uuid4().hex
        self._lanes = [_Lane(number, relay, process) for number in range(LANES)]

    @asynccontextmanager
    async def subscribe(self, reply_id: ReplyId, *, after: Position) -> AsyncIterator[Subscription]:
        """The reply's events after that position: nothing missed, nothing twice, as long as Redis keeps them."""
        subscription = Subscription(self._channel, reply_id, after)
        lane = self._lanes[lane_of(reply_id)]
        if self._is_closing:
            subscription.close()
        await lane.join(subscription)
        try:
            yield subscription
        finally:
            lane.leave(subscription)

    def send_away(self) -> None:
        """End every subscription, those to come included: this process is going away."""
        self._is_closing = True
        for lane in self._lanes:
            lane.send_away()

    async def close(self) -> None:
        self.send_away()
        for lane in self._lanes:
            await lane.close()
