"""The work queue carries hints: each to one worker, again when that worker died, and no harm when they are lost."""

import asyncio
from pathlib import Path

import pytest

from message_service.errors import RelayUnavailable
from message_service.ids import ReplyId, WorkerId, new_reply_id
from message_service.messages.reply import WorkKind
from message_service.relay import Relay, open_relay
from message_service.work.queue import GROUP, Depth, Hint, WorkQueue
from tests.fixtures.redis_faults import full, nobodys_url, read_only, refusing_writes
from tests.integration.steps import OTHER_WORKER, WORKER

BOTH_KINDS = tuple(WorkKind)
STREAM = {kind: f"message_service:{{work}}:{kind.value}" for kind in WorkKind}


@pytest.fixture
def queue(relay: Relay) -> WorkQueue:
    return WorkQueue(relay)


async def announced(queue: WorkQueue, count: int, kind: WorkKind = WorkKind.REPLY) -> list[ReplyId]:
    ids = [new_reply_id() for _ in range(count)]
    for reply_id in ids:
        queue.announce(reply_id, kind)
    await queue.drain()
    return ids


async def read(
    queue: WorkQueue, count: int, worker: WorkerId = WORKER, kinds: tuple[WorkKind, ...] = BOTH_KINDS
) -> list[Hint]:
    """`count` hints, however many reads that takes."""
    hints: list[Hint] = []
    async with asyncio.timeout(10):
        while len(hints) < count:
            hints += await queue.read(kinds, worker, limit=count - len(hints))
    return hints


async def abandon(relay: Relay, hints: list[Hint]) -> None:
    """As if they had been read a minute ago."""
    for hint in hints:
        await relay.quick.xclaim(STREAM[hint.kind], GROUP, WORKER, 0, [hint.entry_id], idle=61_000)


async def test_hints_come_in_the_order_they_were_announced(queue: WorkQueue) -> None:
    ids = await announced(queue, 20)
    assert [hint.reply_id for hint in await read(queue, 20)] == ids


async def test_nothing_remains_when_hints_are_settled(queue: WorkQueue, relay: Relay) -> None:
    await announced(queue, 3)
    await announced(queue, 2, WorkKind.VARIANT)
    for hint in await read(queue, 5):
        queue.settle(hint)
    await queue.drain()
    for kind in WorkKind:
        assert await queue.depth(kind) == Depth(waiting=0, in_process=0)
        assert await relay.quick.xlen(STREAM[kind]) == 0


async def test_depth_tells_what_waits_from_what_is_being_done(queue: WorkQueue) -> None:
    await announced(queue, 5)
    (first, *_) = await read(queue, 2)
    assert await queue.depth(WorkKind.REPLY) == Depth(waiting=3, in_process=2)
    queue.settle(first)
    await queue.drain()
    assert await queue.depth(WorkKind.REPLY) == Depth(waiting=3, in_process=1)


async def test_depth_is_told_when_no_worker_has_ever_read(queue: WorkQueue) -> None:
    assert await queue.depth(WorkKind.REPLY) == Depth(waiting=0, in_process=0)
    await announced(queue, 4)
    assert await queue.depth(WorkKind.REPLY) == Depth(waiting=4, in_process=0)


async def test_replies_come_before_variants_when_both_wait(queue: WorkQueue) -> None:
    variants = await announced(queue, 2, WorkKind.VARIANT)
    replies = await announced(queue, 2)
    assert await queue.read(BOTH_KINDS, WORKER, limit=10) == []
    hints = await queue.read(BOTH_KINDS, WORKER, limit=10)
    assert [hint.reply_id for hint in hints] == [*replies, *variants]
    assert [hint.kind for hint in hints] == [WorkKind.REPLY] * 2 + [WorkKind.VARIANT] * 2


async def test_worker_reads_only_the_kinds_it_takes(queue: WorkQueue) -> None:
    await announced(queue, 2)
    (variant,) = await announced(queue, 1, WorkKind.VARIANT)
    (hint,) = await read(queue, 1, kinds=(WorkKind.VARIANT,))
    assert hint.reply_id == variant
    assert await queue.depth(WorkKind.REPLY) == Depth(waiting=2, in_process=0)


async def test_each_hint_goes_to_one_worker_when_several_read(queue: WorkQueue) -> None:
    assert await queue.read(BOTH_KINDS, WORKER, limit=1) == [], "the group was made"
    ids = await announced(queue, 40)
    shares = await asyncio.gather(*(queue.read(BOTH_KINDS, WorkerId(f"wrk_{number}"), limit=10) for number in range(4)))
    assert sorted(hint.reply_id for share in shares for hint in share) == sorted(ids)


async def test_reader_is_woken_when_a_hint_comes(queue: WorkQueue) -> None:
    assert await queue.read(BOTH_KINDS, WORKER, limit=1) == [], "the group was made"
    reading = asyncio.create_task(queue.read(BOTH_KINDS, WORKER, limit=1))
    await asyncio.sleep(0)
    ids = await announced(queue, 1)
    assert [hint.reply_id for hint in await reading] == ids


async def test_hint_is_not_lost_when_it_was_announced_before_any_worker_was_there(queue: WorkQueue) -> None:
    ids = await announced(queue, 3)
    assert [hint.reply_id for hint in await read(queue, 3)] == ids


async def test_work_goes_on_when_redis_forgot_everything(queue: WorkQueue, relay: Relay) -> None:
    await announced(queue, 5)
    old = await read(queue, 2)
    await relay.quick.flushdb()
    assert await queue.reclaim(BOTH_KINDS, WORKER) == []
    assert await queue.depth(WorkKind.REPLY) == Depth(waiting=0, in_process=0)
    for hint in old:
        queue.settle(hint)
    await queue.drain()
    ids = await announced(queue, 2)
    assert [hint.reply_id for hint in await read(queue, 2)] == ids


async def test_hint_comes_to_another_worker_when_the_first_one_died(queue: WorkQueue, relay: Relay) -> None:
    await announced(queue, 3)
    hints = await read(queue, 3)
    queue.settle(hints[0])
    await queue.drain()
    assert await queue.reclaim(BOTH_KINDS, OTHER_WORKER) == [], "they were read just now"
    await abandon(relay, hints[1:])
    assert await queue.reclaim(BOTH_KINDS, OTHER_WORKER) == hints[1:]
    assert await queue.reclaim(BOTH_KINDS, WorkerId("wrk_third")) == [], "they are somebody's again"


async def test_reclaiming_goes_on_when_abandoned_entries_were_trimmed(queue: WorkQueue, relay: Relay) -> None:
    await announced(queue, 4)
    hints = await read(queue, 4)
    await abandon(relay, hints)
    await relay.quick.xdel(STREAM[WorkKind.REPLY], *(hint.entry_id for hint in hints[:3]))
    assert await queue.reclaim(BOTH_KINDS, OTHER_WORKER) == hints[3:]
    queue.settle(hints[3])
    await queue.drain()
    assert await queue.depth(WorkKind.REPLY) == Depth(waiting=0, in_process=0)


async def test_reclaiming_finds_nothing_when_no_worker_was_ever_there(queue: WorkQueue) -> None:
    assert await queue.reclaim(BOTH_KINDS, WORKER) == []


async def test_settling_twice_does_no_harm(queue: WorkQueue) -> None:
    await announced(queue, 2)
    first, second = await read(queue, 2)
    queue.settle(first)
    queue.settle(first)
    await queue.drain()
    queue.settle(first)
    await queue.drain()
    assert await queue.depth(WorkKind.REPLY) == Depth(waiting=0, in_process=1)
    assert second.reply_id != first.reply_id


async def test_announcing_fails_silently_and_reading_aloud_when_redis_is_gone(tmp_path: Path) -> None:
    async with open_relay(nobodys_url(tmp_path)) as relay:
        queue = WorkQueue(relay)
        await announced(queue, 3)
        for attempt in (queue.read(BOTH_KINDS, WORKER, limit=1), queue.reclaim(BOTH_KINDS, WORKER)):
            with pytest.raises(RelayUnavailable):
                await attempt
        with pytest.raises(RelayUnavailable):
            await queue.depth(WorkKind.REPLY)


async def test_announcing_fails_silently_when_redis_refuses_to_write(queue: WorkQueue, relay: Relay) -> None:
    await announced(queue, 1)
    (hint,) = await read(queue, 1)
    async with refusing_writes(relay):
        await announced(queue, 3)
        queue.settle(hint)
        async with asyncio.timeout(5):
            await queue.drain()
        with pytest.raises(RelayUnavailable):
            await queue.read(BOTH_KINDS, WORKER, limit=1)
    await relay.ping()
    ids = await announced(queue, 1)
    assert [hint.reply_id for hint in await read(queue, 1)] == ids


async def test_order_is_reply_variant_summary_when_there_is_room_for_one(queue: WorkQueue) -> None:
    assert await queue.read(BOTH_KINDS, WORKER, limit=1) == [], "the group was made"
    wanted: list[ReplyId] = []
    backlog = {kind: await announced(queue, 3, kind) for kind in reversed(WorkKind)}
    for kind in WorkKind:
        wanted += backlog[kind]
    got: list[ReplyId] = []
    for _ in wanted:
        hints = await queue.read(BOTH_KINDS, WORKER, limit=1)
        assert len(hints) == 1
        got.append(hints[0].reply_id)
    assert got == wanted


async def test_no_more_is_read_than_there_is_room_for(queue: WorkQueue) -> None:
    assert await queue.read(BOTH_KINDS, WORKER, limit=1) == [], "the group was made"
    replies = await announced(queue, 3)
    (first, *rest) = await announced(queue, 4, WorkKind.VARIANT)
    hints = await queue.read(BOTH_KINDS, WORKER, limit=4)
    assert [hint.reply_id for hint in hints] == [*replies, first]
    assert await queue.depth(WorkKind.VARIANT) == Depth(waiting=len(rest), in_process=1)


async def test_hints_of_several_kinds_are_none_lost_when_they_come_to_a_waiting_reader(queue: WorkQueue) -> None:
    assert await queue.read(BOTH_KINDS, WORKER, limit=1) == [], "the group was made"
    reading = asyncio.create_task(read(queue, 9))
    await asyncio.sleep(0)
    for kind in reversed(WorkKind):
        for _ in range(3):
            queue.announce(new_reply_id(), kind)
    hints = await reading
    assert len({hint.reply_id for hint in hints}) == 9


async def test_reader_does_not_spin_when_groups_vanish_as_fast_as_they_are_made(queue: WorkQueue, relay: Relay) -> None:
    began_at = asyncio.get_running_loop().time()
    for _ in range(4):
        assert await queue.read(BOTH_KINDS, WORKER, limit=1) == []
        await relay.quick.flushdb()
    assert asyncio.get_running_loop().time() - began_at > 1.2


async def test_reading_says_so_and_announcing_is_silent_when_redis_became_a_replica(
    queue: WorkQueue, relay: Relay
) -> None:
    await announced(queue, 1)
    (hint,) = await read(queue, 1)
    async with read_only(relay):
        await announced(queue, 2)
        queue.settle(hint)
        await queue.drain()
        assert await queue.reclaim(BOTH_KINDS, WORKER) == []
        with pytest.raises(RelayUnavailable):
            await queue.read(BOTH_KINDS, WORKER, limit=1)


async def test_what_is_queued_can_still_be_read_when_redis_is_full(queue: WorkQueue, relay: Relay) -> None:
    assert await queue.read(BOTH_KINDS, WORKER, limit=1) == [], "the group was made"
    ids = await announced(queue, 2)
    async with full(relay):
        await announced(queue, 2)
        hints = await queue.read(BOTH_KINDS, WORKER, limit=10)
    assert [hint.reply_id for hint in hints] == ids
