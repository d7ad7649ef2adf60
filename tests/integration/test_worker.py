"""Workers on real stores: each reply is answered exactly once, whoever dies, drains, loses or forgets."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from message_service.ids import ConversationId, MessageId, ReplyId, WorkerId, conversation_key
from message_service.live.writer import LiveWriter
from message_service.messages.reply import Reply, ReplyStatus, WorkKind, first_take
from message_service.metrics import Metrics
from message_service.relay import Relay
from message_service.store.database import Database
from message_service.wiring import worker as worker_wiring
from message_service.wiring.worker import open_worker
from message_service.work.queue import Depth
from tests.fixtures.redis_faults import nobodys_url
from tests.fixtures.samples import USER, completed
from tests.integration.stage import Stage, open_stage, rested, shown_text, stored_text
from tests.integration.steps import LEASE_SECONDS, OTHER_WORKER, Steps

LONG = "/script tokens=1500 rate=100\nOne word after another."
"""Fifteen seconds of it, if nobody stops it."""


async def taken_over(steps: Steps, reply: Reply) -> Reply:
    """Another worker's claim, after the lease of whoever has it ran out."""
    async with asyncio.timeout(5):
        while True:
            owner = (await steps.reply(reply.id)).owner
            assert owner is not None
            await steps.claims.expire(owner)
            # The owner may have renewed in between: then once more.
            claimed = await steps.claims.claim(reply.id, OTHER_WORKER)
            if claimed is not None:
                return claimed


async def test_every_reply_is_answered_once_and_in_order_when_three_workers_share_the_work(
    stage: Stage, database: Database
) -> None:
    conversations = [ConversationId(f"conv-{number}") for number in range(15)]
    async with stage.worker(), stage.worker(), stage.worker():
        replies = [
            await stage.ask(f"/script\n{conversation_id} {turn}", conversation_id=conversation_id)
            for turn in range(4)
            for conversation_id in conversations
        ]
        found = [await stage.ended(reply) for reply in replies]
    assert Counter(one.reply.status for one in found) == {ReplyStatus.COMPLETED: 60}
    assert {one.reply.attempts for one in found} == {1}
    for conversation_id in conversations:
        rows = await database.messages.find(
            {"conversation_key": conversation_key(USER, conversation_id)}, sort=[("seq", 1)]
        ).to_list()
        assert [row["seq"] for row in rows] == list(range(1, 9))
        answers = [row["content"] for row in rows if row["role"] == "assistant"]
        assert answers == [f"{conversation_id} {turn}" for turn in range(4)]
    assert await database.usage.count_documents({}) == 60
    assert await stage.api.queue.depth(WorkKind.REPLY) == Depth(waiting=0, in_process=0)


async def test_reply_is_answered_when_its_hint_was_lost(stage: Stage, relay: Relay) -> None:
    reply = await stage.ask("Hello!")
    await stage.api.queue.drain()
    await relay.quick.flushdb()
    async with stage.worker():
        assert (await stage.ended(reply)).reply.status is ReplyStatus.COMPLETED


async def test_replies_are_answered_when_redis_forgets_everything_meanwhile(stage: Stage, relay: Relay) -> None:
    async with stage.worker():
        replies = []
        for number in range(12):
            conversation_id = ConversationId(f"conv-{number}")
            replies.append(await stage.ask("/script tokens=20 rate=100", conversation_id=conversation_id))
            if number % 4 == 3:
                await relay.quick.flushdb()
        found = [await stage.ended(reply) for reply in replies]
    assert Counter(one.reply.status for one in found) == {ReplyStatus.COMPLETED: 12}
    assert {one.reply.attempts for one in found} == {1}


async def test_reply_is_answered_when_redis_is_gone(stores_of_the_stage: dict[str, Any], tmp_path: Path) -> None:
    async with open_stage(**stores_of_the_stage | {"redis_url": nobodys_url(tmp_path)}) as stage, stage.worker():
        reply = await stage.ask("/script\nStill here.")
        sights = await stage.watch(reply)
        assert shown_text(sights) == stored_text(await stage.ended(reply)) == "Still here."


async def test_reply_is_answered_when_its_worker_died(stage: Stage, steps: Steps) -> None:
    reply = await stage.ask("/script\nAt last.")
    await steps.claim(reply, WorkerId("wrk_dead"))
    await steps.claims.expire(WorkerId("wrk_dead"))
    async with stage.worker():
        found = await stage.ended(reply)
    assert (found.reply.status, found.reply.attempts, found.reply.epoch) == (ReplyStatus.COMPLETED, 2, 2)
    assert stored_text(found) == "At last."


async def test_only_the_kinds_a_worker_takes_are_answered(stage: Stage, steps: Steps) -> None:
    first = await stage.ask("Hello!")
    async with stage.worker([WorkKind.REPLY]):
        await stage.ended(first)
        question = await steps.message(MessageId(first.message_id))
        variant = await steps.ask_again(question)
        second = await stage.ask("More!", conversation_id=ConversationId("conv-2"))
        await stage.ended(second)
        assert (await steps.reply(variant.id)).status is ReplyStatus.QUEUED
    async with stage.worker([WorkKind.VARIANT]):
        assert (await stage.ended(variant)).reply.status is ReplyStatus.COMPLETED


@pytest.mark.parametrize("is_told_by_the_channel", [True, False], ids=["by the channel", "by its renewal"])
async def test_writing_stops_when_the_claim_is_lost(
    stage: Stage, steps: Steps, is_told_by_the_channel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = Metrics()
    monkeypatch.setattr(worker_wiring, "Metrics", lambda: metrics)
    async with stage.worker(lease_seconds=300 if is_told_by_the_channel else 1) as worker:
        reply = await stage.ask(LONG)
        await stage.has_text(reply)
        current = await taken_over(steps, reply)
        if is_told_by_the_channel:
            LiveWriter(stage.api.channel, reply.id, take=first_take(current.epoch), kept_seconds=60).reset("retried")
        await rested(worker, seconds=3)
        assert await steps.reply(reply.id) == current
        assert await steps.database.messages.count_documents({}) == 1
        ended = await steps.finishing.finish(current, completed("Mine.", take=first_take(current.epoch)))
        assert ended.message is not None
    assert shown_text(await stage.watch(reply)) == "Mine."
    assert metrics.registry.get_sample_value("message_service_claims_lost_total") == 1


async def test_lease_is_kept_when_a_reply_takes_longer_than_it(stage: Stage) -> None:
    async with stage.worker(lease_seconds=1), stage.worker(lease_seconds=1):
        reply = await stage.ask("/script tokens=170 rate=100")
        found = await stage.ended(reply)
    assert (found.reply.status, found.reply.attempts, found.reply.epoch) == (ReplyStatus.COMPLETED, 1, 1)


@pytest.mark.parametrize("capacity", [1, 3])
async def test_no_more_are_answered_at_once_than_a_worker_has_room_for(
    stage: Stage, steps: Steps, capacity: int
) -> None:
    replies = []
    for number in range(8):
        where = ConversationId(f"conv-{number}")
        question = await steps.post("/script tokens=5 rate=50", conversation_id=where)
        replies.append(await steps.ask_again(question))
        replies.append(
            await stage.ask("/script tokens=5 rate=50", conversation_id=ConversationId(f"conv-with-variant-{number}"))
        )
        stage.api.queue.announce(replies[-2].id, WorkKind.VARIANT)
    await stage.api.queue.drain()
    most = 0
    async with stage.worker(max_in_process=capacity, sweep_interval_seconds=0.05), asyncio.timeout(20):
        while not all([await stage.api.replies.has_ended(reply.id) for reply in replies]):
            most = max(most, await steps.database.replies.count_documents({"status": "running"}))
    assert most == capacity


async def test_hint_does_nothing_when_its_reply_has_ended(stage: Stage, steps: Steps, database: Database) -> None:
    reply = await steps.ask()
    await steps.answer(reply)
    async with stage.worker() as worker:
        stage.api.queue.announce(reply.id, WorkKind.REPLY)
        stage.api.queue.announce(ReplyId("msg_unknown"), WorkKind.REPLY)
        await stage.api.queue.drain()
        marker = await stage.ask("Hello!", conversation_id=ConversationId("conv-2"))
        await stage.ended(marker)
        await rested(worker, seconds=5)
    assert await database.messages.count_documents({"conversation_id": "conv-1"}) == 2
    assert await stage.api.queue.depth(WorkKind.REPLY) == Depth(waiting=0, in_process=0)


async def test_replies_of_dead_workers_run_at_once_when_another_replaces_them(stage: Stage, steps: Steps) -> None:
    dead = [WorkerId("wrk_dead"), WorkerId("wrk_dead_before")]
    replies = []
    for worker_id in dead:
        replies.append(await stage.ask("/script rate=max say=hello", conversation_id=ConversationId(worker_id)))
        await steps.claim(replies[-1], worker_id)
    settings = stage.settings.model_copy(update={"sweep_interval_seconds": 3600})
    async with open_worker(settings, tuple(WorkKind), worker_id=WorkerId("wrk_new"), replaces=dead) as worker:
        running = asyncio.create_task(worker.run())
        # Sooner than the lease would be over, and without a sweep of its own time.
        async with asyncio.timeout(LEASE_SECONDS / 2):
            found = [await stage.ended(reply) for reply in replies]
        worker.stop()
        await running
    assert [(one.reply.status, one.reply.attempts) for one in found] == [(ReplyStatus.COMPLETED, 2)] * 2
