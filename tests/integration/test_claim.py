"""CLAIM: one worker at a time, on the server's clock, fenced by an epoch that only rises."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from message_service.ids import ConversationId, MessageId, WorkerId, new_reply_id
from message_service.messages.reply import Reply, ReplyStatus, WorkKind
from message_service.store.claim import Claims, Held
from message_service.store.database import Database
from tests.fixtures.samples import USER
from tests.fixtures.stores import CommandLog
from tests.integration.steps import LEASE_SECONDS, OTHER_WORKER, WORKER, Steps

BOTH_KINDS = tuple(WorkKind)


async def server_time(database: Database) -> datetime:
    answer = await database.client.admin.command("hello")
    moment: datetime = answer["localTime"]
    return moment.replace(tzinfo=UTC)


async def in_conversation(steps: Steps, number: int, **more: Any) -> Reply:
    return await steps.ask(conversation_id=ConversationId(f"conv-{number}"), **more)


async def test_one_wins_when_many_workers_claim_the_same_reply(steps: Steps) -> None:
    reply = await steps.ask()
    claims = await asyncio.gather(*(steps.claims.claim(reply.id, WorkerId(f"wrk_{number}")) for number in range(20)))
    (won,) = [claimed for claimed in claims if claimed is not None]
    assert (won.status, won.epoch, won.attempts) == (ReplyStatus.RUNNING, 1, 1)
    assert await steps.reply(reply.id) == won


async def test_lease_ends_by_the_servers_clock(steps: Steps, database: Database) -> None:
    reply = await steps.ask()
    before = await server_time(database)
    claimed = await steps.claim(reply)
    after = await server_time(database)
    lease_until = (await steps.reply_row(reply.id))["lease_until"]
    assert before <= lease_until - timedelta(seconds=LEASE_SECONDS) <= after
    assert claimed.started_at is not None
    assert before <= claimed.started_at <= after


async def test_reply_is_taken_over_when_its_lease_has_run_out(steps: Steps, database: Database) -> None:
    reply = await steps.ask()
    first = await Claims(database, lease_seconds=0.001).claim(reply.id, WORKER)
    assert first is not None
    # A millisecond has passed when the server answers its next write.
    await steps.post(conversation_id=ConversationId("another"))
    second = await steps.claim(reply, OTHER_WORKER)
    assert (second.epoch, second.attempts, second.owner) == (2, 2, OTHER_WORKER)
    assert second.started_at == first.started_at


async def test_reply_is_not_to_be_had_when_its_lease_holds(steps: Steps) -> None:
    claimed = await steps.claim(await steps.ask())
    assert await steps.claims.claim(claimed.id, OTHER_WORKER) is None
    assert await steps.claims.claim(claimed.id, WORKER) is None, "not even by the one who has it"


async def test_epoch_rises_with_every_claim(steps: Steps) -> None:
    reply = await steps.ask()
    epochs = []
    for _ in range(4):
        claimed = await steps.claim(reply)
        epochs.append(claimed.epoch)
        await steps.claims.hand_back(claimed, delay_seconds=0, is_attempt_counted=False)
    assert epochs == [1, 2, 3, 4]


async def test_reply_waits_when_it_is_not_its_turn(steps: Steps) -> None:
    await steps.ask("first")
    second = await steps.ask("second")
    assert await steps.claims.claim(second.id, WORKER) is None


async def test_index_allows_one_running_reply_when_two_of_a_conversation_claim_it_is_their_turn(
    steps: Steps, database: Database
) -> None:
    first, second = await steps.ask("first"), await steps.ask("second")
    await database.replies.update_many({}, {"$set": {"is_next": True}})
    answers = await asyncio.gather(steps.claims.claim(first.id, WORKER), steps.claims.claim(second.id, OTHER_WORKER))
    assert [answer is None for answer in answers].count(True) == 1
    assert await database.replies.count_documents({"status": "running"}) == 1


@pytest.mark.parametrize("status", [status for status in ReplyStatus if status not in ("queued", "running")])
async def test_reply_is_not_to_be_had_when_it_has_ended(steps: Steps, database: Database, status: ReplyStatus) -> None:
    reply = await steps.ask()
    await database.replies.update_one({"_id": reply.id}, {"$set": {"status": status.value}})
    assert await steps.claims.claim(reply.id, WORKER) is None
    assert await steps.claims.lost_ones(BOTH_KINDS, limit=10) == []


async def test_reply_is_not_to_be_had_when_there_is_none(steps: Steps) -> None:
    assert await steps.claims.claim(new_reply_id(), WORKER) is None


async def test_reply_waits_when_it_was_handed_back_for_later(steps: Steps, database: Database) -> None:
    claimed = await steps.claim(await steps.ask())
    assert await steps.claims.hand_back(claimed, delay_seconds=60, is_attempt_counted=True)
    assert await steps.claims.claim(claimed.id, WORKER) is None
    assert await steps.claims.lost_ones(BOTH_KINDS, limit=10) == []
    row = await steps.reply_row(claimed.id)
    assert row["not_before"] - await server_time(database) > timedelta(seconds=50)
    # As if the minute had passed.
    await database.replies.update_one({"_id": claimed.id}, [{"$set": {"not_before": {"$subtract": ["$$NOW", 1]}}}])
    assert await steps.claims.lost_ones(BOTH_KINDS, limit=10) == [claimed.id]
    assert (await steps.claim(claimed)).attempts == 2


@pytest.mark.parametrize(("is_counted", "attempts"), [(True, 1), (False, 0)])
async def test_reply_is_free_when_it_was_handed_back(steps: Steps, is_counted: bool, attempts: int) -> None:
    claimed = await steps.claim(await steps.ask())
    assert await steps.claims.hand_back(claimed, delay_seconds=0, is_attempt_counted=is_counted)
    row = await steps.reply_row(claimed.id)
    assert (row["status"], row["attempts"], row["epoch"], row["is_next"]) == ("queued", attempts, 1, True)
    assert "owner" not in row
    assert "lease_until" not in row
    assert (await steps.claim(claimed, OTHER_WORKER)).epoch == 2


async def test_reply_does_not_wait_when_it_was_asked_to_stop_before_it_was_handed_back(steps: Steps) -> None:
    claimed = await steps.claim(await steps.ask())
    await steps.finishing.cancel(claimed.id, USER)
    assert await steps.claims.hand_back(claimed, delay_seconds=60, is_attempt_counted=True)
    assert await steps.claims.lost_ones(BOTH_KINDS, limit=10) == [claimed.id]
    assert (await steps.claim(claimed)).is_cancel_requested


async def test_nothing_is_handed_back_when_another_worker_has_it(steps: Steps) -> None:
    stale = await steps.claim(await steps.ask())
    await steps.claims.expire(WORKER)
    current = await steps.claim(stale, OTHER_WORKER)
    assert not await steps.claims.hand_back(stale, delay_seconds=0, is_attempt_counted=False)
    assert await steps.reply(stale.id) == current


async def test_nothing_is_handed_back_when_it_was_already(steps: Steps) -> None:
    claimed = await steps.claim(await steps.ask())
    assert await steps.claims.hand_back(claimed, delay_seconds=0, is_attempt_counted=True)
    assert not await steps.claims.hand_back(claimed, delay_seconds=0, is_attempt_counted=True)


async def test_lost_ones_are_what_can_be_claimed_now(steps: Steps) -> None:
    dead = await steps.claim(await in_conversation(steps, 1))
    await steps.claims.expire(WORKER)
    alive = await steps.claim(await in_conversation(steps, 2), OTHER_WORKER)
    untold = await in_conversation(steps, 3)
    behind = await in_conversation(steps, 3)
    variant = await in_conversation(steps, 4, kind=WorkKind.VARIANT)
    await steps.answer(await in_conversation(steps, 5))
    lost = await steps.claims.lost_ones(BOTH_KINDS, limit=10)
    assert lost == [dead.id, untold.id, variant.id]
    for reply_id in (alive.id, behind.id):
        assert await steps.claims.claim(reply_id, WORKER) is None
    for reply_id in lost:
        assert await steps.claims.claim(reply_id, WORKER) is not None
    assert await steps.claims.lost_ones(BOTH_KINDS, limit=10) == []


async def test_lost_ones_are_of_the_kinds_a_worker_takes(steps: Steps) -> None:
    reply = await in_conversation(steps, 1)
    variant = await in_conversation(steps, 2, kind=WorkKind.VARIANT)
    dead = await steps.claim(await in_conversation(steps, 3, kind=WorkKind.VARIANT))
    await steps.claims.expire(WORKER)
    assert await steps.claims.lost_ones([WorkKind.REPLY], limit=10) == [reply.id]
    assert await steps.claims.lost_ones([WorkKind.VARIANT], limit=10) == [dead.id, variant.id]


async def test_oldest_lost_ones_come_first_and_no_more_than_wanted(steps: Steps) -> None:
    replies = [await in_conversation(steps, number) for number in range(6)]
    assert await steps.claims.lost_ones(BOTH_KINDS, limit=4) == sorted(reply.id for reply in replies)[:4]


async def test_others_are_found_when_those_one_knows_of_come_first(steps: Steps) -> None:
    dead = [await steps.claim(await in_conversation(steps, number)) for number in range(4)]
    await steps.claims.expire(WORKER)
    untold = await in_conversation(steps, 9)
    known, other = {reply.id for reply in dead[:3]}, dead[3].id
    for limit, found in [(1, [other]), (2, [other, untold.id]), (9, [other, untold.id])]:
        assert await steps.claims.lost_ones(BOTH_KINDS, limit=limit, besides=known) == found


async def test_lease_is_longer_when_it_is_renewed(steps: Steps, database: Database) -> None:
    claimed = await steps.claim(await steps.ask())
    await database.replies.update_one({}, [{"$set": {"lease_until": {"$add": ["$$NOW", 50]}}}])
    short = (await steps.reply_row(claimed.id))["lease_until"]
    assert await steps.claims.renew([claimed.id], WORKER) == 1
    assert (await steps.reply_row(claimed.id))["lease_until"] - short > timedelta(seconds=LEASE_SECONDS - 1)
    assert (await steps.reply(claimed.id)).epoch == 1


async def test_only_what_is_held_is_renewed(steps: Steps) -> None:
    mine = await steps.claim(await in_conversation(steps, 1))
    theirs = await steps.claim(await in_conversation(steps, 2), OTHER_WORKER)
    ended = await steps.claim(await in_conversation(steps, 3))
    assert await steps.claims.hand_back(ended, delay_seconds=0, is_attempt_counted=True)
    untouched = await steps.reply_row(theirs.id)
    assert await steps.claims.renew([mine.id, theirs.id, ended.id], WORKER) == 1
    assert await steps.reply_row(theirs.id) == untouched
    assert await steps.claims.held_by(WORKER) == [Held(mine.id, 1)]


async def test_held_tells_the_epoch_when_a_reply_came_back_to_the_same_worker(steps: Steps) -> None:
    claimed = await steps.claim(await steps.ask())
    await steps.claims.expire(WORKER)
    await steps.claim(claimed)
    assert await steps.claims.held_by(WORKER) == [Held(claimed.id, 2)]


async def test_all_leases_end_when_a_worker_is_known_to_be_dead(steps: Steps) -> None:
    dead = [await steps.claim(await in_conversation(steps, number)) for number in range(3)]
    alive = await steps.claim(await in_conversation(steps, 9), OTHER_WORKER)
    assert await steps.claims.expire(WORKER) == 3
    assert set(await steps.claims.lost_ones(BOTH_KINDS, limit=10)) == {reply.id for reply in dead}
    assert await steps.claims.claim(alive.id, WORKER) is None
    assert await steps.claims.expire(WorkerId("wrk_unknown")) == 0


async def test_cancels_are_those_of_the_worker_that_runs_them(steps: Steps) -> None:
    mine = await steps.claim(await in_conversation(steps, 1))
    theirs = await steps.claim(await in_conversation(steps, 2), OTHER_WORKER)
    await steps.claim(await in_conversation(steps, 3))
    for reply in (mine, theirs):
        await steps.finishing.cancel(reply.id, USER)
    assert await steps.claims.cancels_for(WORKER) == [mine.id]
    assert await steps.claims.cancels_for(OTHER_WORKER) == [theirs.id]


async def test_claim_knows_everything_of_the_question(steps: Steps) -> None:
    reply = await steps.ask("What is new?", character_id="char-7")
    claimed = await steps.claim(reply)
    question = await steps.message(MessageId(claimed.message_id))
    assert (question.content, claimed.character_id, claimed.asked) == ("What is new?", "char-7", reply.asked)
    assert claimed.deadline == reply.deadline
    assert not claimed.is_cancel_requested


async def test_sweep_looks_at_nothing_when_every_lease_holds(
    logged_database: Database, command_log: CommandLog, steps: Steps
) -> None:
    for number in range(10):
        await steps.claim(await in_conversation(steps, number))
    claims = Claims(logged_database, lease_seconds=10, suspect_attempts=range(5))
    await claims.suspects(BOTH_KINDS, limit=10)
    await claims.lost_ones(BOTH_KINDS, limit=10)
    assert command_log.names == ["find"] * (2 + len(BOTH_KINDS))
    for command in list(command_log.commands):
        asked = {field: command[field] for field in ("find", "filter", "sort", "limit", "projection")}
        explained = await logged_database.database.command({"explain": asked, "verbosity": "executionStats"})
        assert explained["executionStats"]["totalKeysExamined"] == 0


async def test_sweep_finds_replies_before_variants_before_summaries(database: Database, steps: Steps) -> None:
    ids = [(await in_conversation(steps, number)).id for number in range(3)]
    kinds = [WorkKind.SUMMARY, WorkKind.VARIANT, WorkKind.REPLY]
    for reply_id, kind in zip(ids, kinds, strict=True):
        await database.replies.update_one({"_id": reply_id}, {"$set": {"kind": kind.value}})
    claims = Claims(database, lease_seconds=10)
    assert await claims.lost_ones(tuple(WorkKind), limit=10) == ids[::-1]
    assert await claims.lost_ones(tuple(WorkKind), limit=1) == ids[2:]


async def test_each_gets_what_is_its_own_when_claims_come_together(steps: Steps) -> None:
    replies = [await in_conversation(steps, number) for number in range(10)]
    taken = await steps.claim(replies[3], OTHER_WORKER)
    claimed = await asyncio.gather(*(steps.claims.claim(reply.id, WORKER) for reply in replies))
    assert [one.id if one else None for one in claimed] == [
        None if reply.id == taken.id else reply.id for reply in replies
    ]
    for one in claimed:
        if one is not None:
            assert one == await steps.reply(one.id)
            assert (one.owner, one.epoch, one.attempts) == (WORKER, 1, 1)


async def test_all_but_one_are_claimed_together_when_its_conversation_is_busy(steps: Steps, database: Database) -> None:
    replies = [await in_conversation(steps, number) for number in range(10)]
    # Against the rules, as if its turn had been given too early: the index has the last word.
    busy = await steps.claim(replies[4], OTHER_WORKER)
    second = await steps.ask("second", conversation_id=busy.conversation_id)
    await database.replies.update_one({"_id": second.id}, {"$set": {"is_next": True}})
    wanted = [*replies[:4], second, *replies[5:]]
    claimed = await asyncio.gather(*(steps.claims.claim(reply.id, WORKER) for reply in wanted))
    assert [one is not None for one in claimed] == [reply is not second for reply in wanted]
    assert all(one.attempts == 1 for one in claimed if one is not None)


async def test_reply_goes_to_one_when_many_workers_claim_many_together(steps: Steps, database: Database) -> None:
    replies = [await in_conversation(steps, number) for number in range(12)]
    workers = [WorkerId(f"wrk_{number}") for number in range(4)]
    everywhere = [Claims(database, lease_seconds=10) for _ in workers]
    claimed = await asyncio.gather(
        *(
            claims.claim(reply.id, worker)
            for claims, worker in zip(everywhere, workers, strict=True)
            for reply in replies
        )
    )
    won = [one.id for one in claimed if one is not None]
    assert sorted(won) == sorted(reply.id for reply in replies)


async def test_reply_of_a_newer_version_is_read_without_what_is_new(steps: Steps, database: Database) -> None:
    reply = await steps.ask()
    newer = {"asked.persona": "of a newer version", "mood": "too"}
    await database.replies.update_one({"_id": reply.id}, {"$set": newer})
    assert (await steps.claim(reply)).asked == reply.asked


async def test_those_beside_it_are_claimed_when_a_reply_cannot_be_read(steps: Steps, database: Database) -> None:
    replies = [await in_conversation(steps, number) for number in range(4)]
    await database.replies.update_one({"_id": replies[1].id}, {"$set": {"finish_reason": "of a newer version"}})
    claimed = await asyncio.gather(*(steps.claims.claim(reply.id, WORKER) for reply in replies), return_exceptions=True)
    assert [type(one) for one in claimed] == [Reply, ValueError, Reply, Reply]
