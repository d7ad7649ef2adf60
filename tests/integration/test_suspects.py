"""Replies whose workers died again and again: claimed on probation alone, cleared by the worker that survives them."""

import asyncio

import pytest

from message_service.ids import ConversationId, ReplyId
from message_service.messages.reply import Reply, WorkKind
from message_service.store.claim import Claims
from message_service.store.database import Database
from tests.fixtures.samples import USER
from tests.integration.steps import LEASE_SECONDS, OTHER_WORKER, WORKER, Steps

ALL_KINDS = tuple(WorkKind)
SUSPICIOUS = range(2, 5)


@pytest.fixture
def claims(database: Database) -> Claims:
    return Claims(database, lease_seconds=LEASE_SECONDS, suspect_attempts=SUSPICIOUS)


async def left_by_the_dead(steps: Steps, deaths: int, number: int = 1) -> Reply:
    reply = await steps.ask(conversation_id=ConversationId(f"conv-{number}"))
    for _ in range(deaths):
        await steps.claim(reply)
        await steps.claims.expire(WORKER)
    return reply


async def lost_ones(claims: Claims) -> list[ReplyId]:
    return await claims.lost_ones(ALL_KINDS, limit=10)


@pytest.mark.parametrize("deaths", [1, 5])
async def test_reply_runs_again_at_once_when_it_was_the_first_death_or_will_only_be_ended(
    steps: Steps, claims: Claims, deaths: int
) -> None:
    reply = await left_by_the_dead(steps, deaths)
    assert await claims.suspects(ALL_KINDS, limit=10) == {}
    assert await lost_ones(claims) == [reply.id]
    assert await claims.claim(reply.id, OTHER_WORKER) is not None


@pytest.mark.parametrize("deaths", [2, 3, 4])
async def test_reply_is_claimed_on_probation_only_when_its_workers_died(
    steps: Steps, claims: Claims, deaths: int
) -> None:
    reply = await left_by_the_dead(steps, deaths)
    assert await lost_ones(claims) == []
    assert await claims.suspects(ALL_KINDS, limit=10) == {reply.id: deaths}
    assert await claims.suspects([WorkKind.SUMMARY], limit=10) == {}
    assert await claims.claim(reply.id, OTHER_WORKER) is None, "whoever was told of it by a hint"
    assert (await steps.reply(reply.id)).attempts == deaths
    claimed = await claims.claim(reply.id, OTHER_WORKER, is_on_probation=True)
    assert claimed is not None
    assert claimed.attempts == deaths + 1
    assert await claims.suspects(ALL_KINDS, limit=10) == {}
    assert await claims.claim(reply.id, WORKER, is_on_probation=True) is None, "its lease holds"


async def test_nothing_is_suspected_when_the_attempts_failed_without_a_death(steps: Steps, claims: Claims) -> None:
    reply = await steps.ask()
    for _ in range(3):
        claimed = await claims.claim(reply.id, WORKER)
        assert claimed is not None
        await claims.hand_back(claimed, delay_seconds=0, is_attempt_counted=True)
    assert await lost_ones(claims) == [reply.id]


@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "too late"])
async def test_suspect_is_claimed_at_once_when_it_is_only_to_be_ended(
    steps: Steps, claims: Claims, database: Database, is_cancelled: bool
) -> None:
    reply = await left_by_the_dead(steps, 3)
    if is_cancelled:
        await steps.finishing.cancel(reply.id, USER)
    else:
        await database.replies.update_one({"_id": reply.id}, [{"$set": {"deadline": {"$subtract": ["$$NOW", 1]}}}])
    assert await claims.suspects(ALL_KINDS, limit=10) == {}
    assert await lost_ones(claims) == [reply.id]
    assert await claims.claim(reply.id, OTHER_WORKER) is not None


async def test_only_those_on_probation_are_taken_when_suspects_are_claimed_together(
    steps: Steps, claims: Claims
) -> None:
    suspects = [await left_by_the_dead(steps, deaths, number) for number, deaths in enumerate((4, 2, 3, 2))]
    others = [await left_by_the_dead(steps, deaths, number) for number, deaths in enumerate((0, 1), start=4)]
    assert list((await claims.suspects(ALL_KINDS, limit=3)).values()) == [2, 2, 3], "the least suspicious first"
    admitted = suspects[1:3]
    claimed = await asyncio.gather(
        *(claims.claim(reply.id, OTHER_WORKER, is_on_probation=reply in admitted) for reply in [*suspects, *others])
    )
    assert [one.id for one in claimed if one is not None] == [reply.id for reply in [*admitted, *others]]


async def test_suspect_has_its_attempt_back_when_its_worker_survives_it_three_times(
    steps: Steps, claims: Claims, database: Database
) -> None:
    reply = await left_by_the_dead(steps, 2)
    attempts: list[int] = []
    for _ in range(4):
        assert await claims.claim(reply.id, OTHER_WORKER, is_on_probation=True) is not None
        await claims.reprieve([reply.id], WORKER)
        assert (await steps.reply(reply.id)).attempts == 3 + max(0, len(attempts) - 3), "it is not that worker's"
        await claims.reprieve([reply.id], OTHER_WORKER)
        attempts.append((await steps.reply(reply.id)).attempts)
        await claims.expire(OTHER_WORKER)
    assert attempts == [2, 2, 2, 3]
