"""The work queue: Redis Streams that carry reply ids and nothing else. Losing an entry costs a sweep, no reply.

Redis keys: `message_service:{work}:<kind>`, one stream a kind of work, read by the consumer group
`workers`. Entries leave the stream when they are settled, so its length is what waits or is being done.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any

from redis.exceptions import ResponseError

from message_service.coalesce import Coalescer
from message_service.errors import RelayUnavailable
from message_service.ids import ReplyId, WorkerId
from message_service.logs import log
from message_service.messages.reply import WorkKind
from message_service.relay import BLOCK_SECONDS, PREFIX, Relay

GROUP = "workers"
_MOST_HINTS = 100_000
"""Entries past this are dropped oldest first: a bound on memory, at the price of a sweep."""
_ABANDONED_SECONDS = 60
_SPIN_SECONDS = 0.5

# XREADGROUP counts for each stream by itself, so one over all kinds would take more than there is room for.
_READ_IN_ORDER = """
local room, entries = tonumber(ARGV[3]), {}
for place, key in ipairs(KEYS) do
  if room <= 0 then break end
  local answer = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', room, 'STREAMS', key, '>')
  if answer then
    for _, entry in ipairs(answer[1][2]) do
      entries[#entries + 1] = {place, entry[1], entry[2][2]}
      room = room - 1
    end
  end
end
return entries
"""


@dataclass(frozen=True, slots=True)
class Hint:
    """Word that a reply can be claimed. It may come twice, late, or never."""

    reply_id: ReplyId
    kind: WorkKind
    entry_id: str


@dataclass(frozen=True, slots=True)
class Depth:
    """Entries in a stream that nobody has read yet, and those being worked on."""

    waiting: int
    in_process: int


class WorkQueue:
    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._read_in_order = relay.quick.register_script(_READ_IN_ORDER)
        self._groups_made_at = -inf
        self._announcements: Coalescer[tuple[ReplyId, WorkKind], None] = Coalescer(
            self._add_all, max_items=256, max_in_flight=1
        )
        self._settlements: Coalescer[Hint, None] = Coalescer(self._remove_all, max_items=256, max_in_flight=1)

    def announce(self, reply_id: ReplyId, kind: WorkKind) -> None:
        """Tell the workers, soon, without waiting. When it fails the sweep finds the reply."""
        self._announcements.submit((reply_id, kind)).add_done_callback(_note_failure)

    def settle(self, hint: Hint) -> None:
        """The hint has done its work, soon, without waiting. When it fails the hint comes again and does nothing."""
        self._settlements.submit(hint).add_done_callback(_note_failure)

    async def drain(self) -> None:
        await self._announcements.drain()
        await self._settlements.drain()

    async def read(self, kinds: Sequence[WorkKind], worker: WorkerId, *, limit: int) -> list[Hint]:
        """Up to `limit` new hints, those of the first kinds first; waits up to a second when there are none.

        Never cancel it: what was read and not returned would wait until it counts as abandoned.
        Raises `RelayUnavailable`.
        """
        with self._relay.reaching(is_blocking=True):
            try:
                return await self._take(kinds, worker, limit) or await self._wait(kinds, worker, limit)
            except ResponseError as fault:
                if "NOGROUP" not in str(fault):
                    raise RelayUnavailable(str(fault)) from fault
                await self._create_groups(kinds)
                return []

    async def _take(self, kinds: Sequence[WorkKind], worker: WorkerId, limit: int) -> list[Hint]:
        """What is there, in order of priority, in one trip."""
        entries = await self._read_in_order(keys=[_key(kind) for kind in kinds], args=[GROUP, worker, limit])
        return [Hint(ReplyId(reply_id), kinds[place - 1], entry_id) for place, entry_id, reply_id in entries]

    async def _wait(self, kinds: Sequence[WorkKind], worker: WorkerId, limit: int) -> list[Hint]:
        """The first hint to come; the others that came with it are taken by the next `_take`."""
        streams: dict[Any, Any] = {_key(kind): ">" for kind in kinds}
        answer: Any = await self._relay.patient.xreadgroup(
            GROUP, worker, streams, count=1, block=int(BLOCK_SECONDS * 1000)
        )
        entries = dict(answer or [])
        hints = [hint for kind in kinds for hint in _hints(kind, entries.get(_key(kind), []))]
        # Kinds that came between the two commands came together.
        for surplus in hints[limit:]:
            self.announce(surplus.reply_id, surplus.kind)
            self.settle(surplus)
        return hints[:limit]

    async def reclaim(self, kinds: Sequence[WorkKind], worker: WorkerId) -> list[Hint]:
        """Hints that another worker read a minute ago and never settled. Raises `RelayUnavailable`."""
        hints: list[Hint] = []
        with self._relay.reaching():
            for kind in kinds:
                try:
                    _, entries, *_ = await self._relay.quick.xautoclaim(
                        _key(kind), GROUP, worker, min_idle_time=_ABANDONED_SECONDS * 1000, count=100
                    )
                except ResponseError:
                    continue  # no such group yet: `read` creates it
                hints += _hints(kind, entries)
        return hints

    async def depth(self, kind: WorkKind) -> Depth:
        """Raises `RelayUnavailable`."""
        in_process = 0
        with self._relay.reaching():
            length = await self._relay.quick.xlen(_key(kind))
            try:
                pending = await self._relay.quick.xpending(_key(kind), GROUP)
                in_process = int(pending["pending"])
            except ResponseError:
                pass  # no worker has read yet, so there is no group: all of it waits
        return Depth(waiting=max(0, int(length) - in_process), in_process=in_process)

    async def _create_groups(self, kinds: Sequence[WorkKind]) -> None:
        if monotonic() < self._groups_made_at + _SPIN_SECONDS:
            # They vanish as fast as they are made, by eviction for example: the reader must not spin.
            await asyncio.sleep(_SPIN_SECONDS)
        self._groups_made_at = monotonic()
        for kind in kinds:
            try:
                # From the beginning: what was announced before the group existed is still wanted.
                await self._relay.quick.xgroup_create(_key(kind), GROUP, id="0", mkstream=True)
            except ResponseError as fault:
                if "BUSYGROUP" not in str(fault):
                    raise RelayUnavailable(str(fault)) from fault

    async def _add_all(self, announcements: Sequence[tuple[ReplyId, WorkKind]]) -> Sequence[None]:
        with self._relay.reaching():
            pipeline = self._relay.quick.pipeline(transaction=False)
            for reply_id, kind in announcements:
                pipeline.xadd(_key(kind), {"reply": reply_id}, maxlen=_MOST_HINTS, approximate=True)
            await pipeline.execute()
        return [None] * len(announcements)

    async def _remove_all(self, hints: Sequence[Hint]) -> Sequence[None]:
        with self._relay.reaching():
            pipeline = self._relay.quick.pipeline(transaction=False)
            for kind in {hint.kind for hint in hints}:
                entries = [hint.entry_id for hint in hints if hint.kind is kind]
                pipeline.xack(_key(kind), GROUP, *entries)
                pipeline.xdel(_key(kind), *entries)
            await pipeline.execute()
        return [None] * len(hints)


def _key(kind: WorkKind) -> str:
    # One hash tag for all kinds: a worker reads them in one command.
    return f"{PREFIX}:{{work}}:{kind.value}"


def _hints(kind: WorkKind, entries: Sequence[tuple[str, dict[str, str] | None]]) -> list[Hint]:
    # An entry that was trimmed while pending comes back without fields.
    return [Hint(ReplyId(fields["reply"]), kind, entry_id) for entry_id, fields in entries if fields]


def _note_failure(outcome: asyncio.Future[None]) -> None:
    if not outcome.cancelled() and (fault := outcome.exception()) is not None:
        log.debug("queue.unreachable", error=type(fault).__name__)
