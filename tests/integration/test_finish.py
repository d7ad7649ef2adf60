"""FINISH: the whole end of a reply or nothing of it, once, and the next one's turn."""

import asyncio

import pytest

from message_service.errors import ClaimLost
from message_service.ids import ConversationId, MessageId
from message_service.messages.message import Role
from message_service.messages.reply import FinishReason, Outcome, ReplyError, ReplyStatus, Usage, WorkKind
from message_service.store.database import Database
from message_service.store.ending import Promoted
from message_service.store.finish import Finishing
from tests.fixtures.samples import CONVERSATION, USER, completed, failed
from tests.fixtures.stores import everything_in
from tests.integration.steps import OTHER_WORKER, WORKER, Steps


async def test_answer_is_stored_with_everything_that_belongs_to_it(steps: Steps, database: Database) -> None:
    reply = await steps.ask("How are you?", character_id="char-7")
    ended = await steps.answer(reply, completed("Fine."))
    assert ended.message is not None
    message = await steps.message(reply.id)
    assert message == ended.message
    assert (message.seq, message.role, message.content, message.tokens) == (2, Role.ASSISTANT, "Fine.", 5)
    assert message.parent_id == message.reply_to == reply.message_id
    assert (message.character_id, message.provider, message.model) == ("char-7", "scripted", "scripted")
    assert (message.finish_reason, message.usage) == (FinishReason.STOP, Usage(11, 5))
    stored = await steps.reply(reply.id)
    assert stored == ended.reply
    assert (stored.status, stored.take, stored.usage) == (ReplyStatus.COMPLETED, 1000, Usage(11, 5))
    assert stored.finished_at is not None
    assert stored.owner is None
    row = await steps.reply_row(reply.id)
    assert not row["is_next"]
    assert row.keys().isdisjoint({"owner", "lease_until", "not_before"})


async def test_usage_and_audit_are_booked_with_the_end(steps: Steps, database: Database) -> None:
    reply = await steps.ask()
    await steps.answer(reply, completed("a secret"))
    (usage,) = await database.usage.find().to_list()
    assert usage.pop("at") is not None
    assert usage == {
        "_id": f"{reply.id} 1 1",
        "reply_id": reply.id,
        "user_id": USER,
        "conversation_id": CONVERSATION,
        "provider": "scripted",
        "model": "scripted",
        "input_tokens": 11,
        "output_tokens": 5,
        "is_estimated": False,
        "cached_input_tokens": 0,
        "cache_write_tokens": 0,
        "reasoning_tokens": 0,
        "is_kept": True,
        "attempts": 1,
        "unpriced_attempts": 0,
        "cost_nano_usd": 0,
        "price_table": "a table",
    }
    rows = await database.audit.find({"action": "reply.ended"}).to_list()
    assert [(row["subject"], row["outcome"]) for row in rows] == [(reply.id, "completed")]
    assert "a secret" not in str(rows)


async def test_nothing_is_booked_when_nothing_was_used(steps: Steps, database: Database) -> None:
    await steps.answer(await steps.ask(), failed())
    assert await database.usage.count_documents({}) == 0


async def test_error_is_kept_when_a_reply_failed(steps: Steps) -> None:
    error = ReplyError("provider_overloaded", "The provider is overloaded.")
    outcome = Outcome(status=ReplyStatus.FAILED, take=1000, finish_reason=FinishReason.ERROR, error=error)
    reply = await steps.ask()
    ended = await steps.answer(reply, outcome)
    assert ended.message is None
    stored = await steps.reply(reply.id)
    assert (stored.status, stored.error, stored.finish_reason) == (ReplyStatus.FAILED, error, FinishReason.ERROR)


async def test_partial_text_is_kept_when_a_reply_was_cut(steps: Steps) -> None:
    outcome = Outcome(status=ReplyStatus.INCOMPLETE, take=1000, text="Once", finish_reason=FinishReason.LENGTH)
    ended = await steps.answer(await steps.ask(), outcome)
    assert ended.message is not None
    assert (await steps.message(ended.message.id)).finish_reason is FinishReason.LENGTH
    assert (await steps.conversation()).last_seq == 2


async def test_nothing_is_written_anywhere_when_another_worker_has_taken_over(steps: Steps, database: Database) -> None:
    stale = await steps.claim(await steps.ask())
    await steps.ask("behind it")
    await steps.claims.expire(WORKER)
    current = await steps.claim(stale, OTHER_WORKER)
    before = await everything_in(database)
    with pytest.raises(ClaimLost):
        await steps.finishing.finish(stale, completed("from the grave"))
    assert await everything_in(database) == before
    assert (await steps.finishing.finish(current, completed())).reply.epoch == 2


async def test_nothing_is_written_anywhere_when_it_was_handed_back(steps: Steps, database: Database) -> None:
    claimed = await steps.claim(await steps.ask())
    await steps.claims.hand_back(claimed, delay_seconds=0, is_attempt_counted=True)
    before = await everything_in(database)
    with pytest.raises(ClaimLost):
        await steps.finishing.finish(claimed, completed())
    assert await everything_in(database) == before


async def test_nothing_is_written_anywhere_when_it_has_ended(steps: Steps, database: Database) -> None:
    claimed = await steps.claim(await steps.ask())
    await steps.finishing.finish(claimed, completed())
    before = await everything_in(database)
    with pytest.raises(ClaimLost):
        await steps.finishing.finish(claimed, failed())
    assert await everything_in(database) == before


async def test_reply_ends_once_when_a_worker_and_its_double_finish_together(steps: Steps, database: Database) -> None:
    for number in range(10):
        conversation_id = ConversationId(f"conv-{number}")
        claimed = await steps.claim(await steps.ask(conversation_id=conversation_id))
        outcomes = await asyncio.gather(
            *(Finishing(database).finish(claimed, completed(f"by {who}")) for who in range(3)),
            return_exceptions=True,
        )
        assert [isinstance(outcome, ClaimLost) for outcome in outcomes].count(True) == 2
        assert await database.messages.count_documents({"conversation_id": conversation_id}) == 2


async def test_turn_passes_to_the_oldest_when_a_reply_ends(steps: Steps) -> None:
    first, second, third = [await steps.ask(str(number)) for number in range(3)]
    ended = await steps.answer(first)
    assert ended.promoted == Promoted(second.id, WorkKind.REPLY)
    assert await steps.claims.claim(third.id, WORKER) is None
    assert (await steps.answer(second, failed())).promoted == Promoted(third.id, WorkKind.REPLY)
    assert (await steps.answer(third)).promoted is None
    conversation = await steps.conversation()
    assert (conversation.active_reply, conversation.waiting_replies, conversation.reserved) == (None, 0, 0)
    assert conversation.last_seq == 5


async def test_kind_is_told_when_a_variant_is_next(steps: Steps) -> None:
    question, _ = await steps.exchange()
    first = await steps.ask("more")
    variant = await steps.ask_again(question)
    assert (await steps.answer(first)).promoted == Promoted(variant.id, WorkKind.VARIANT)


async def test_message_comes_after_what_was_posted_meanwhile(steps: Steps) -> None:
    reply = await steps.ask("first")
    meanwhile = await steps.post("meanwhile")
    ended = await steps.answer(reply)
    assert ended.message is not None
    assert (meanwhile.seq, ended.message.seq) == (2, 3)
    assert (meanwhile.parent_id, ended.message.parent_id) == (MessageId(reply.id), reply.message_id)
    assert (await steps.conversation()).head == meanwhile.id


@pytest.mark.parametrize("status", [ReplyStatus.FAILED, ReplyStatus.BLOCKED, ReplyStatus.CANCELLED])
async def test_place_is_free_and_the_path_goes_on_when_a_reply_ends_without_text(
    steps: Steps, database: Database, status: ReplyStatus
) -> None:
    reply = await steps.ask("first")
    await steps.answer(reply, Outcome(status=status, take=1000))
    conversation = await steps.conversation()
    assert (conversation.last_seq, conversation.reserved, conversation.head) == (1, 0, reply.message_id)
    assert (await steps.post("second")).parent_id == reply.message_id
    assert await database.messages.count_documents({}) == 2


async def test_path_goes_on_from_the_old_answer_when_a_variant_ends_without_text(steps: Steps) -> None:
    question, answer = await steps.exchange()
    await steps.answer(await steps.ask_again(question), failed())
    assert (await steps.conversation()).head == answer.id


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
async def test_path_goes_on_from_the_old_answer_when_several_variants_end_without_text(
    steps: Steps, order: tuple[int, int, int]
) -> None:
    question, answer = await steps.exchange("What is your name?", "Mira.")
    variants = [await steps.ask_again(question) for _ in range(3)]
    for place in order:
        await steps.finishing.cancel(variants[place].id, USER)
    assert (await steps.conversation()).head == answer.id
    following = await steps.post("And your age?")
    assert await steps.path_to(following.id) == ["What is your name?", "Mira.", "And your age?"]


async def test_path_goes_on_from_the_written_variant_when_a_later_one_ends_without_text(steps: Steps) -> None:
    question, _ = await steps.exchange()
    first, second = await steps.ask_again(question), await steps.ask_again(question)
    await steps.answer(first, completed("Another."))
    await steps.answer(second, failed())
    assert (await steps.conversation()).head == MessageId(first.id)
