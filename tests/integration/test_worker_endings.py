"""How a worker ends a reply: completed, cut, cancelled, or failed where everybody sees it."""

import asyncio
from typing import Any

import pytest

from message_service.ids import ConversationId, WorkerId
from message_service.live.event import START, Began, Ended
from message_service.live.writer import LiveWriter
from message_service.messages.reply import FinishReason, ReplyStatus, first_take
from message_service.store.database import Database
from tests.integration.stage import Stage, open_stage, rested, shown_text, stored_text
from tests.integration.steps import Steps

LONG = "/script tokens=1500 rate=100\nOne word after another."
"""Fifteen seconds of it, if nobody stops it."""


async def test_attempt_is_made_again_when_the_provider_fails_for_a_moment(stage: Stage) -> None:
    async with stage.worker():
        reply = await stage.ask("/script fail=cut@0 attempts=1\nSecond time lucky.")
        found = await stage.ended(reply)
    assert (found.reply.status, found.reply.attempts) == (ReplyStatus.COMPLETED, 2)
    assert stored_text(found) == "Second time lucky."


async def test_reply_fails_visibly_when_attempts_are_used_up(stage: Stage) -> None:
    async with stage.worker(max_attempts=2):
        reply = await stage.ask("/script fail=empty")
        found = await stage.ended(reply)
    assert (found.reply.status, found.reply.attempts, found.message) == (ReplyStatus.FAILED, 2, None)
    assert found.reply.error is not None
    assert found.reply.error.code == "provider_empty_response"


async def test_outage_costs_no_attempt_when_it_passes(stage: Stage) -> None:
    async with stage.worker(max_attempts=1):
        reply = await stage.ask("/script fail=unreachable attempts=3\nBack again.")
        found = await stage.ended(reply)
    assert (found.reply.status, found.reply.attempts, found.reply.epoch) == (ReplyStatus.COMPLETED, 1, 4)
    assert stored_text(found) == "Back again."


async def test_outage_ends_in_one_failure_at_the_deadline_when_it_lasts(
    stores_of_the_stage: dict[str, Any],
) -> None:
    async with open_stage(**stores_of_the_stage, reply_deadline_seconds=2) as stage, stage.worker(max_attempts=1):
        found = await stage.ended(await stage.ask("/script fail=unreachable"))
    reply = found.reply
    assert (reply.status, found.message) == (ReplyStatus.FAILED, None)
    assert reply.finished_at is not None
    assert (reply.finished_at - reply.created_at).total_seconds() >= 2, "nothing is given up before the deadline"
    assert reply.error is not None
    assert reply.error.code == "deadline_exceeded"
    assert "The provider cannot be reached." in reply.error.detail


async def test_reply_fails_visibly_when_it_killed_every_worker_that_tried(stage: Stage, database: Database) -> None:
    reply = await stage.ask("Hello!")
    await database.replies.update_one({"_id": reply.id}, {"$set": {"attempts": 5}})
    async with stage.worker():
        found = await stage.ended(reply)
    assert found.reply.status is ReplyStatus.FAILED
    assert found.reply.error is not None
    assert found.reply.error.code == "too_many_attempts"


@pytest.mark.parametrize(
    ("script", "status"),
    [("/script first=60", ReplyStatus.FAILED), ("/script tokens=5000 rate=100", ReplyStatus.INCOMPLETE)],
)
async def test_reply_ends_when_its_deadline_has_come(
    stores_of_the_stage: dict[str, Any], script: str, status: ReplyStatus
) -> None:
    async with open_stage(**stores_of_the_stage, reply_deadline_seconds=1) as stage, stage.worker():
        found = await stage.ended(await stage.ask(script))
        assert found.reply.status is status
        assert found.reply.error is not None
        assert found.reply.error.code == "deadline_exceeded"
        assert bool(stored_text(found)) == (status is ReplyStatus.INCOMPLETE)


async def test_text_is_kept_when_the_provider_dies_in_the_middle(stage: Stage) -> None:
    async with stage.worker():
        reply = await stage.ask("/script tokens=20 fail=cut@7 say=Word")
        found = await stage.ended(reply)
    assert (found.reply.status, found.reply.finish_reason) == (ReplyStatus.INCOMPLETE, FinishReason.ERROR)
    assert stored_text(found) == " ".join(["Word"] * 7)
    assert found.reply.attempts == 1


async def test_end_is_told_only_when_it_is_stored(stage: Stage) -> None:
    async with stage.worker():
        reply = await stage.ask("/script\nDone.")
        async with stage.api.follower.subscribe(reply.id, after=START) as subscription, asyncio.timeout(10):
            while True:
                arrived = await subscription.next(wait_seconds=1)
                if any(isinstance(placed.event, Ended) for placed in arrived):
                    break
            assert await stage.api.replies.has_ended(reply.id)


async def test_upstream_is_left_within_a_second_when_a_reply_is_cancelled(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    async with stage.worker() as worker:
        reply = await stage.ask(LONG)
        await stage.has_text(reply)
        cancelled_at = loop.time()
        assert (await stage.cancel(reply)).status is ReplyStatus.RUNNING
        found = await stage.ended(reply)
        await rested(worker, seconds=1)
        assert loop.time() - cancelled_at < 1
    assert (found.reply.status, found.reply.finish_reason) == (ReplyStatus.CANCELLED, FinishReason.CANCELLED)
    assert stored_text(found).startswith("One word after another.")
    assert found.reply.usage is not None
    assert found.reply.usage.is_estimated


async def test_text_is_kept_when_a_worker_died_that_was_asked_to_stop(stage: Stage, steps: Steps) -> None:
    dead = WorkerId("wrk_dead")
    replies = [await stage.ask("Hello!", conversation_id=ConversationId(f"conv-{number}")) for number in range(5)]
    for reply in replies:
        claimed = await steps.claim(reply, dead)
        writer = LiveWriter(stage.api.channel, reply.id, take=first_take(claimed.epoch), kept_seconds=60)
        writer.began(Began("scripted", "scripted", 1))
        writer.write("As far as it came")
        await stage.cancel(reply)
    await stage.api.channel.drain()
    await steps.claims.expire(dead)
    async with stage.worker():
        for reply in replies:
            found = await stage.ended(reply)
            assert found.reply.status is ReplyStatus.CANCELLED
            assert stored_text(found) == "As far as it came"
    assert shown_text(await stage.watch(replies[0])) == "As far as it came"
