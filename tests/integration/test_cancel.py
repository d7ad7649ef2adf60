"""CANCEL: at once where a reply waits, by asking its worker where it runs, and never twice."""

import asyncio

import pytest

from message_service.errors import ClaimLost, ReplyNotCancellable, ReplyNotFound
from message_service.ids import ConversationId, UserId, new_reply_id
from message_service.messages.reply import FinishReason, Outcome, ReplyStatus
from message_service.store.database import Database
from tests.fixtures.samples import USER, completed, failed
from tests.fixtures.stores import everything_in
from tests.fixtures.waiting import eventually
from tests.integration.steps import OTHER_WORKER, WORKER, Steps


async def test_reply_ends_at_once_when_it_waits_for_a_worker(steps: Steps, database: Database) -> None:
    reply = await steps.ask()
    cancelled = await steps.finishing.cancel(reply.id, USER)
    assert cancelled.ended is not None
    stored = await steps.reply(reply.id)
    assert stored == cancelled.reply
    assert (stored.status, stored.finish_reason) == (ReplyStatus.CANCELLED, FinishReason.CANCELLED)
    assert await steps.claims.claim(reply.id, WORKER) is None
    conversation = await steps.conversation()
    assert (conversation.reserved, conversation.active_reply, conversation.head) == (0, None, reply.message_id)
    assert await database.audit.count_documents({"subject": reply.id, "outcome": "cancelled"}) == 1


async def test_turn_passes_when_the_first_in_line_is_cancelled(steps: Steps) -> None:
    first, second = await steps.ask("first"), await steps.ask("second")
    cancelled = await steps.finishing.cancel(first.id, USER)
    assert cancelled.ended is not None
    assert cancelled.ended.promoted is not None
    assert cancelled.ended.promoted.reply_id == second.id
    await steps.claim(second)


async def test_line_is_shorter_when_a_waiting_reply_is_cancelled(steps: Steps) -> None:
    first, second, third = [await steps.ask(str(number)) for number in range(3)]
    running = await steps.claim(first)
    cancelled = await steps.finishing.cancel(second.id, USER)
    assert cancelled.ended is not None
    assert cancelled.ended.promoted is None
    ended = await steps.finishing.finish(running, completed())
    assert ended.promoted is not None
    assert ended.promoted.reply_id == third.id


async def test_worker_is_asked_to_stop_when_the_reply_runs(steps: Steps, database: Database) -> None:
    claimed = await steps.claim(await steps.ask())
    cancelled = await steps.finishing.cancel(claimed.id, USER)
    assert cancelled.ended is None
    assert cancelled.reply.status is ReplyStatus.RUNNING
    stored = await steps.reply(claimed.id)
    assert stored.is_cancel_requested
    assert (stored.status, stored.epoch, stored.owner) == (ReplyStatus.RUNNING, 1, WORKER)
    assert await database.audit.count_documents({"action": "reply.cancel_requested"}) == 1


async def test_another_worker_can_take_the_reply_when_the_asked_one_does_not_stop(steps: Steps) -> None:
    claimed = await steps.claim(await steps.ask())
    await steps.finishing.cancel(claimed.id, USER)
    assert await steps.claims.claim(claimed.id, OTHER_WORKER) is None, "its worker has a moment to hear of it"
    await steps.claims.renew([claimed.id], WORKER)
    taken = await eventually(
        lambda: steps.claims.claim(claimed.id, OTHER_WORKER), seconds=5, what="another worker takes it"
    )
    assert taken is not None
    assert (taken.epoch, taken.is_cancel_requested) == (2, True)
    with pytest.raises(ClaimLost):
        await steps.finishing.finish(claimed, completed())


async def test_next_worker_knows_when_the_asked_one_died(steps: Steps) -> None:
    claimed = await steps.claim(await steps.ask())
    await steps.finishing.cancel(claimed.id, USER)
    await steps.claims.expire(WORKER)
    assert (await steps.claim(claimed)).is_cancel_requested


@pytest.mark.parametrize("is_running", [False, True])
async def test_nothing_changes_when_it_is_cancelled_again(steps: Steps, database: Database, is_running: bool) -> None:
    reply = await steps.ask()
    if is_running:
        await steps.claim(reply)
    await steps.finishing.cancel(reply.id, USER)
    before = await everything_in(database)
    again = await steps.finishing.cancel(reply.id, USER)
    assert again.ended is None
    assert again.reply.id == reply.id
    assert await everything_in(database) == before


async def test_cancel_counts_once_when_many_cancel_together(steps: Steps, database: Database) -> None:
    for number in range(5):
        reply = await steps.ask(conversation_id=ConversationId(f"conv-{number}"))
        cancelled = await asyncio.gather(*(steps.finishing.cancel(reply.id, USER) for _ in range(5)))
        assert [one.ended is not None for one in cancelled].count(True) == 1
    assert await database.audit.count_documents({"action": "reply.ended"}) == 5


@pytest.mark.parametrize("outcome", [completed(), failed()])
async def test_cancel_is_refused_when_the_reply_ended_otherwise(
    steps: Steps, database: Database, outcome: Outcome
) -> None:
    reply = await steps.ask()
    await steps.answer(reply, outcome)
    before = await everything_in(database)
    with pytest.raises(ReplyNotCancellable):
        await steps.finishing.cancel(reply.id, USER)
    assert await everything_in(database) == before


async def test_reply_is_not_found_when_it_is_someone_elses_or_does_not_exist(steps: Steps, database: Database) -> None:
    reply = await steps.ask()
    before = await everything_in(database)
    for reply_id, user_id in ((reply.id, UserId("bob")), (new_reply_id(), USER)):
        with pytest.raises(ReplyNotFound):
            await steps.finishing.cancel(reply_id, user_id)
    assert await everything_in(database) == before


async def test_reply_is_cancelled_or_asked_to_stop_when_a_claim_comes_at_the_same_moment(steps: Steps) -> None:
    for number in range(20):
        reply = await steps.ask(conversation_id=ConversationId(f"conv-{number}"))
        claimed, cancelled = await asyncio.gather(
            steps.claims.claim(reply.id, WORKER), steps.finishing.cancel(reply.id, USER)
        )
        stored = await steps.reply(reply.id)
        if claimed is None:
            assert cancelled.ended is not None
            assert stored.status is ReplyStatus.CANCELLED
        else:
            assert cancelled.ended is None
            assert stored.status is ReplyStatus.RUNNING
            assert stored.is_cancel_requested
