"""ACCEPT: what was answered is stored, in one order, once, and never beyond the limit."""

import asyncio

import pytest

from message_service.errors import ConversationFull, MessageServiceError, StoreUnavailable, ValidationFailed
from message_service.ids import ConversationId, MessageId, UserId, conversation_key, new_message_id
from message_service.messages.message import Role
from message_service.messages.reply import Asked, ReplyStatus, WorkKind
from message_service.store import accept as accept_module
from message_service.store.database import Database
from message_service.store.idempotency import Accepted, IdempotencyClaim
from message_service.store.transaction import TransactionConflict
from tests.fixtures.broken_transactions import break_transactions
from tests.fixtures.samples import CONVERSATION, KEY, USER, a_new_reply, a_submission, a_variant
from tests.fixtures.stores import CommandLog, everything_in
from tests.integration.steps import Steps, outcomes, prepared, processes

EVERYTHING_ASKED = Asked(
    instructions="You are Mira.",
    model="some-model",
    provider="scripted",
    strategy="priority",
    temperature=0.0,
    max_output_tokens=7,
    stop=("\n", "END"),
)


async def test_message_is_stored_as_it_was_sent(steps: Steps) -> None:
    submission = a_submission(
        "Hello!", metadata={"a.b": "1", "$c": "2", "": "3"}, character_id="char-7", role=Role.SYSTEM, tokens=3
    )
    accepted = await steps.accept(submission)
    stored = await steps.message(accepted.message.id)
    assert stored == accepted.message
    assert submission.message is not None
    for field in ("id", "content", "metadata", "character_id", "role", "tokens", "created_at", "user_id"):
        assert getattr(stored, field) == getattr(submission.message, field)
    assert (stored.seq, stored.parent_id, stored.conversation_id) == (1, None, CONVERSATION)


async def test_everything_asked_of_a_reply_is_kept(steps: Steps) -> None:
    accepted = await steps.accept(a_submission(reply=a_new_reply(asked=EVERYTHING_ASKED), character_id="char-7"))
    assert accepted.reply is not None
    stored = await steps.reply(accepted.reply.id)
    assert stored == accepted.reply
    assert stored.asked == EVERYTHING_ASKED
    assert (stored.status, stored.kind, stored.character_id) == (ReplyStatus.QUEUED, WorkKind.REPLY, "char-7")
    assert (stored.deadline - stored.created_at).total_seconds() == 60


async def test_seq_is_dense_and_the_path_unbroken_when_several_processes_accept_at_once(
    steps: Steps, database: Database
) -> None:
    conversations = [ConversationId(f"conv-{number}") for number in range(3)]
    acceptances = processes(database, 4)
    await asyncio.gather(
        *(
            acceptances[number % 4].accept(
                a_submission(
                    str(number),
                    conversation_id=conversations[number % 3],
                    reply=a_new_reply() if number % 2 else None,
                )
            )
            for number in range(120)
        )
    )
    for conversation_id in conversations:
        key = conversation_key(USER, conversation_id)
        rows = await database.messages.find({"conversation_key": key}, sort=[("seq", 1)]).to_list()
        assert [row["seq"] for row in rows] == list(range(1, 41))
        asked = {row["message_id"]: row["_id"] async for row in database.replies.find({"conversation_key": key})}
        head = None
        for row in rows:
            assert row.get("parent_id") == head
            head = asked.get(row["_id"], row["_id"])
        stored = await steps.conversation(key)
        assert (stored.last_seq, stored.reserved, stored.head) == (40, len(asked), head)


async def test_turns_are_distinct_and_one_is_first_when_several_processes_ask_at_once(
    steps: Steps, database: Database
) -> None:
    acceptances = processes(database, 4)
    answers = await asyncio.gather(
        *(acceptances[number % 4].accept(a_submission(str(number), reply=a_new_reply())) for number in range(24))
    )
    rows = await database.replies.find(sort=[("turn", 1)]).to_list()
    assert [row["turn"] for row in rows] == list(range(1, 25))
    assert [row["is_next"] for row in rows] == [True] + [False] * 23
    positions = {answer.reply.id: answer.position for answer in answers if answer.reply is not None}
    assert [positions[row["_id"]] for row in rows] == list(range(24))
    conversation = await steps.conversation()
    assert (conversation.active_reply, conversation.waiting_replies) == (rows[0]["_id"], 23)


async def test_each_half_hears_its_own_when_the_store_goes_away_between_them(
    steps: Steps, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_transactions(monkeypatch, accept_module, TransactionConflict(), None, StoreUnavailable())
    answers = await asyncio.gather(
        *(steps.accept(a_submission(conversation_id=ConversationId(f"conv-{number}"))) for number in range(4)),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [Accepted, Accepted, StoreUnavailable, StoreUnavailable]
    assert await database.messages.count_documents({}) == 2


async def test_transactions_are_shared_when_submissions_come_together(
    logged_database: Database, command_log: CommandLog
) -> None:
    (acceptance,) = processes(logged_database, 1)
    await asyncio.gather(
        *(
            acceptance.accept(a_submission(conversation_id=ConversationId(f"conv-{number % 20}"), reply=a_new_reply()))
            for number in range(40)
        )
    )
    transactions = command_log.names.count("commitTransaction")
    assert transactions <= 2, "as many as may be under way at once"
    assert sorted(command_log.names) == sorted(
        ["find", "update", "insert", "insert", "insert", "commitTransaction"] * transactions
    )


async def test_others_are_accepted_when_some_of_a_batch_are_refused(steps: Steps, database: Database) -> None:
    await prepared(database, last_seq=9_999)
    elsewhere = ConversationId("conv-2")
    answers = await asyncio.gather(
        steps.accept(a_submission("the last place")),
        steps.accept(a_submission("too late")),
        steps.accept(a_submission("no such parent", conversation_id=elsewhere, parent_id=new_message_id())),
        steps.accept(a_submission("fine", conversation_id=elsewhere)),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [Accepted, ConversationFull, ValidationFailed, Accepted]
    stored = {row["content"] async for row in database.messages.find()}
    assert stored == {"the last place", "fine"}


async def test_exactly_the_places_left_are_given_when_several_processes_want_them(
    steps: Steps, database: Database
) -> None:
    await prepared(database, last_seq=9_990)
    acceptances = processes(database, 3)
    answers = await asyncio.gather(
        *(acceptances[number % 3].accept(a_submission(str(number))) for number in range(24)), return_exceptions=True
    )
    assert outcomes(answers) == {"Accepted": 10, "ConversationFull": 14}
    assert await database.messages.count_documents({}) == 10
    assert (await steps.conversation()).last_seq == 10_000


async def test_reply_keeps_its_place_when_a_conversation_fills_up(steps: Steps, database: Database) -> None:
    await prepared(database, last_seq=9_997)
    reply = await steps.ask()
    await steps.post("the last place that is not kept")
    with pytest.raises(ConversationFull):
        await steps.post("too late")
    ended = await steps.answer(reply)
    assert ended.message is not None
    assert ended.message.seq == 10_000


async def test_nothing_is_written_when_there_is_room_for_a_message_but_not_for_its_reply(
    steps: Steps, database: Database
) -> None:
    await prepared(database, last_seq=9_999)
    before = await everything_in(database)
    with pytest.raises(ConversationFull):
        await steps.ask()
    assert await everything_in(database) == before


async def test_variant_is_refused_when_no_place_is_left_for_it(steps: Steps, database: Database) -> None:
    question = await steps.post()
    await database.conversations.update_one({"_id": KEY}, {"$set": {"last_seq": 9_999, "reserved": 1}})
    before = await everything_in(database)
    with pytest.raises(ConversationFull):
        await steps.ask_again(question)
    assert await everything_in(database) == before


async def test_conversation_is_one_when_several_processes_begin_it_at_once(steps: Steps, database: Database) -> None:
    answers = await asyncio.gather(
        *(acceptance.accept(a_submission(str(number))) for number, acceptance in enumerate(processes(database, 8)))
    )
    assert sorted(answer.message.seq for answer in answers) == list(range(1, 9))
    assert await database.conversations.count_documents({}) == 1


async def test_conversations_are_apart_when_two_users_use_one_id(steps: Steps, database: Database) -> None:
    mine = await steps.post()
    theirs = await steps.post(user_id=UserId("bob"))
    assert (mine.seq, theirs.seq) == (1, 1)
    assert theirs.parent_id is None


async def test_message_follows_its_parent_when_one_is_named(steps: Steps) -> None:
    first = await steps.post("first")
    await steps.post("second")
    branch = await steps.post("branch", parent_id=first.id)
    assert branch.parent_id == first.id
    assert (await steps.conversation()).head == branch.id


async def test_message_follows_a_reply_when_that_is_not_written_yet(steps: Steps) -> None:
    reply = await steps.ask()
    following = await steps.post("meanwhile", parent_id=MessageId(reply.id))
    assert following.parent_id == MessageId(reply.id)


async def test_message_is_refused_when_its_parent_is_in_another_conversation(steps: Steps) -> None:
    elsewhere = await steps.post(conversation_id=ConversationId("conv-2"))
    theirs = await steps.post(user_id=UserId("bob"))
    for parent_id in (elsewhere.id, theirs.id, new_message_id()):
        with pytest.raises(ValidationFailed) as refused:
            await steps.post(parent_id=parent_id)
        assert [fault.pointer for fault in refused.value.faults] == ["/parent_id"]


async def test_variant_takes_its_turn_and_becomes_the_head(steps: Steps) -> None:
    question, answer = await steps.exchange()
    first = await steps.ask_again(question, asked=EVERYTHING_ASKED)
    second = await steps.accept(a_variant(question))
    assert second.position == 1
    assert second.message == question
    assert (first.kind, first.asked) == (WorkKind.VARIANT, EVERYTHING_ASKED)
    assert (await steps.reply_row(first.id))["fallback_head"] == answer.id
    assert second.reply is not None
    assert (await steps.conversation()).head == MessageId(second.reply.id)


async def test_audit_tells_what_was_accepted_and_never_any_text(steps: Steps, database: Database) -> None:
    accepted = await steps.accept(a_submission("a secret", reply=a_new_reply()))
    assert accepted.reply is not None
    rows = await database.audit.find(sort=[("_id", 1)]).to_list()
    assert [(row["action"], row["subject"], row["user_id"]) for row in rows] == [
        ("message.accepted", accepted.message.id, USER),
        ("reply.asked", accepted.reply.id, USER),
    ]
    assert "a secret" not in str(rows)


async def test_message_is_stored_when_its_caller_goes_away_meanwhile(steps: Steps, database: Database) -> None:
    leaving = asyncio.create_task(steps.accept(a_submission("left")))
    # A few turns of the loop: under way, and far from an answer, which takes several trips to the store.
    for _ in range(4):
        await asyncio.sleep(0)
    leaving.cancel()
    await steps.acceptance.drain()
    assert {row["content"] async for row in database.messages.find()} == {"left"}


async def test_message_is_not_stored_when_its_caller_goes_away_before_it_is_under_way(
    steps: Steps, database: Database
) -> None:
    leaving = asyncio.create_task(steps.accept(a_submission("left")))
    staying = asyncio.create_task(steps.accept(a_submission("stayed")))
    await asyncio.sleep(0)
    leaving.cancel()
    await staying
    await steps.acceptance.drain()
    assert {row["content"] async for row in database.messages.find()} == {"stayed"}


async def test_refusals_are_ours_when_everything_goes_wrong_at_once(database: Database) -> None:
    await prepared(database, last_seq=9_998)
    acceptances = processes(database, 3)
    answers = await asyncio.gather(
        *(
            acceptances[number % 3].accept(
                a_submission(
                    str(number),
                    reply=a_new_reply() if number % 5 == 0 else None,
                    parent_id=new_message_id() if number % 7 == 0 else None,
                    claim=IdempotencyClaim(USER, f"key-{number % 4}", bytes([number % 3])) if number % 2 else None,
                )
            )
            for number in range(30)
        ),
        return_exceptions=True,
    )
    faults = [answer for answer in answers if not isinstance(answer, Accepted)]
    assert all(isinstance(fault, MessageServiceError) for fault in faults)
    assert set(outcomes(answers)) <= {"Accepted", "ConversationFull", "ValidationFailed", "IdempotencyKeyReused"}
    assert await database.messages.count_documents({}) + await database.replies.count_documents({}) == 2
