"""One key, one message: whoever repeats a request gets the first result, however many race for it."""

import asyncio

import pytest

from message_service.errors import ConversationFull, IdempotencyKeyReused
from message_service.ids import MessageId, UserId
from message_service.messages.reply import Asked
from message_service.store.database import Database
from message_service.store.idempotency import IdempotencyClaim, IdempotencyRecords
from tests.fixtures.samples import USER, a_new_reply, a_submission
from tests.fixtures.stores import everything_in
from tests.integration.steps import Steps, outcomes, prepared, processes


@pytest.mark.parametrize("with_reply", [False, True])
async def test_one_message_is_stored_when_fifty_requests_race_with_one_key(
    database: Database, with_reply: bool
) -> None:
    acceptances = processes(database, 5)
    claim = IdempotencyClaim(USER, "key-1", b"same body")
    answers = await asyncio.gather(
        *(
            acceptances[number % 5].accept(a_submission(reply=a_new_reply() if with_reply else None, claim=claim))
            for number in range(50)
        )
    )
    assert await database.messages.count_documents({}) == 1
    assert await database.replies.count_documents({}) == (1 if with_reply else 0)
    assert len({(answer.message.id, answer.message.seq, answer.position) for answer in answers}) == 1
    assert len({answer.reply.id if answer.reply else None for answer in answers}) == 1
    assert [answer.is_replay for answer in answers].count(False) == 1


async def test_one_message_is_stored_for_each_key_when_many_keys_race(database: Database) -> None:
    acceptances = processes(database, 4)
    answers = await asyncio.gather(
        *(
            acceptances[number % 4].accept(
                a_submission(claim=IdempotencyClaim(USER, f"key-{number % 12}", b"same body"))
            )
            for number in range(96)
        )
    )
    ids: dict[int, set[MessageId]] = {number: set() for number in range(12)}
    for number, answer in enumerate(answers):
        ids[number % 12].add(answer.message.id)
    assert all(len(one) == 1 for one in ids.values())
    assert await database.messages.count_documents({}) == 12
    assert sorted(answer.message.seq for answer in answers if not answer.is_replay) == list(range(1, 13))


async def test_first_answer_comes_back_when_the_key_comes_again_much_later(steps: Steps) -> None:
    claim = IdempotencyClaim(USER, "key-1", b"body")
    await steps.ask("the one before")
    first = await steps.accept(
        a_submission(
            reply=a_new_reply(asked=Asked(instructions="You are Mira.", stop=("END",))),
            claim=claim,
            metadata={"k": "v"},
        )
    )
    assert first.position == 1
    assert first.reply is not None
    await steps.finishing.cancel(first.reply.id, USER)
    await steps.database.messages.update_one(
        {"_id": first.message.id}, {"$set": {"deleted_at": first.message.created_at}}
    )
    again = await steps.accept(a_submission(claim=claim))
    assert again.is_replay
    assert (again.message, again.reply, again.position) == (first.message, first.reply, first.position)
    assert await IdempotencyRecords(steps.database).find(claim) == again


async def test_key_is_refused_when_it_comes_with_another_body(steps: Steps, database: Database) -> None:
    await steps.accept(a_submission(claim=IdempotencyClaim(USER, "key-1", b"body")))
    before = await everything_in(database)
    with pytest.raises(IdempotencyKeyReused):
        await steps.accept(a_submission(claim=IdempotencyClaim(USER, "key-1", b"other")))
    with pytest.raises(IdempotencyKeyReused):
        await IdempotencyRecords(database).find(IdempotencyClaim(USER, "key-1", b"other"))
    assert await everything_in(database) == before


async def test_one_body_wins_when_two_race_with_one_key(database: Database) -> None:
    acceptances = processes(database, 4)
    answers = await asyncio.gather(
        *(
            acceptances[number % 4].accept(
                a_submission(str(number % 2), claim=IdempotencyClaim(USER, "key-1", bytes([number % 2])))
            )
            for number in range(20)
        ),
        return_exceptions=True,
    )
    assert outcomes(answers) == {"Accepted": 10, "IdempotencyKeyReused": 10}
    assert await database.messages.count_documents({}) == 1


async def test_keys_do_not_meet_when_their_users_differ(steps: Steps) -> None:
    first = await steps.accept(a_submission(claim=IdempotencyClaim(USER, "key-1", b"body")))
    other = UserId("bob")
    second = await steps.accept(a_submission(user_id=other, claim=IdempotencyClaim(other, "key-1", b"body")))
    assert first.message.id != second.message.id
    assert not second.is_replay


async def test_key_is_free_again_when_its_request_was_refused(steps: Steps, database: Database) -> None:
    await prepared(database, last_seq=10_000)
    claim = IdempotencyClaim(USER, "key-1", b"body")
    with pytest.raises(ConversationFull):
        await steps.accept(a_submission(claim=claim))
    assert await IdempotencyRecords(database).find(claim) is None
