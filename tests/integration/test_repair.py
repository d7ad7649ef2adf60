"""Documents broken by hand are repaired; a conversation at work never is."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from message_service.errors import ClaimLost
from message_service.ids import ConversationId, ReplyId, WorkerId
from message_service.messages.line import Disagreement
from message_service.messages.reply import ReplyStatus
from message_service.store.database import Database
from message_service.store.repair import Repaired, Repairs
from tests.fixtures.samples import KEY, completed
from tests.integration.explaining import Furnished, plans_of, require
from tests.integration.stage import Stage
from tests.integration.steps import Steps
from tests.integration.test_conversation_at_rest import Bustle

ABSENT = ReplyId("msg_absent")


@pytest.fixture
def repairs(database: Database) -> Repairs:
    return Repairs(database)


async def _break_reply(steps: Steps, reply_id: str, **fields: Any) -> None:
    assert (await steps.database.replies.update_one({"_id": reply_id}, {"$set": fields})).modified_count


async def _break_conversation(steps: Steps, **fields: Any) -> None:
    assert (await steps.database.conversations.update_one({"_id": KEY}, {"$set": fields})).modified_count


async def _all_answered(steps: Steps, replies: list[Any]) -> None:
    """In their order, and the conversation is at rest then."""
    for reply in replies:
        await steps.answer(reply)
    conversation = await steps.conversation()
    assert (conversation.active_reply, conversation.waiting_replies, conversation.reserved) == (None, 0, 0)


async def test_nothing_is_repaired_when_all_is_well(steps: Steps, repairs: Repairs) -> None:
    assert await repairs.look() == []
    replies = [await steps.ask(str(number)) for number in range(3)]
    await steps.claim(replies[0])
    before = await steps.conversation()
    assert await repairs.look() == []
    assert await steps.conversation() == before


async def test_turn_is_given_again_when_it_was_lost(steps: Steps, repairs: Repairs) -> None:
    replies = [await steps.ask(str(number)) for number in range(3)]
    await _break_reply(steps, replies[0].id, is_next=False)
    assert await repairs.look() == [Repaired(KEY, replies[0].id, (Disagreement.LOST_TURN,))]
    assert await repairs.look() == []
    await _all_answered(steps, replies)


async def test_oldest_gets_the_turn_when_the_active_reply_has_ended(steps: Steps, repairs: Repairs) -> None:
    ended = (await steps.answer(await steps.ask("before"))).reply
    replies = [await steps.ask(str(number)) for number in range(2)]
    await _break_reply(steps, replies[0].id, is_next=False)
    await _break_conversation(steps, active_reply=ended.id, waiting_replies=2)
    (repaired,) = await repairs.look()
    assert repaired.next_reply == replies[0].id
    assert repaired.disagreements == (
        Disagreement.LOST_TURN,
        Disagreement.ACTIVE_REPLY,
        Disagreement.WAITING_REPLIES,
    )
    await _all_answered(steps, replies)


@pytest.mark.parametrize("running", [None, 0, 2])
async def test_one_keeps_the_turn_when_two_had_it(steps: Steps, repairs: Repairs, running: int | None) -> None:
    replies = [await steps.ask(str(number)) for number in range(3)]
    await _break_reply(steps, replies[2].id, is_next=True)
    claimed = await steps.claim(replies[running]) if running is not None else None
    (repaired,) = await repairs.look()
    assert Disagreement.EXTRA_TURN in repaired.disagreements
    assert repaired.next_reply == replies[running or 0].id
    rows = await steps.database.replies.find({"is_next": True}).to_list()
    assert [row["_id"] for row in rows] == [repaired.next_reply]
    assert await repairs.look() == []
    if claimed is not None:
        await steps.finishing.finish(claimed, completed())
        replies.remove(next(reply for reply in replies if reply.id == claimed.id))
    await _all_answered(steps, replies)


@pytest.mark.parametrize(
    ("fields", "disagreement"),
    [
        ({"reserved": 7}, Disagreement.RESERVED),
        ({"reserved": 0}, Disagreement.RESERVED),
        ({"waiting_replies": 0}, Disagreement.WAITING_REPLIES),
        ({"waiting_replies": 9}, Disagreement.WAITING_REPLIES),
        ({"active_reply": None}, Disagreement.ACTIVE_REPLY),
        ({"active_reply": ABSENT}, Disagreement.ACTIVE_REPLY),
    ],
)
async def test_conversation_is_corrected_when_it_counts_wrong(
    steps: Steps, repairs: Repairs, fields: dict[str, Any], disagreement: Disagreement
) -> None:
    replies = [await steps.ask(str(number)) for number in range(3)]
    right = await steps.conversation()
    await _break_conversation(steps, **fields)
    assert await repairs.look() == [Repaired(KEY, replies[0].id, (disagreement,))]
    assert await steps.conversation() == right
    await _all_answered(steps, replies)


@pytest.mark.parametrize("fields", [{"reserved": 2}, {"waiting_replies": 1}, {"active_reply": ABSENT}])
async def test_conversation_is_corrected_when_nothing_is_unfinished(
    steps: Steps, repairs: Repairs, fields: dict[str, Any]
) -> None:
    await steps.exchange()
    right = await steps.conversation()
    await _break_conversation(steps, **fields)
    (repaired,) = await repairs.look()
    assert [what.value for what in repaired.disagreements] == list(fields)
    assert await steps.conversation() == right


async def test_all_are_found_in_the_end_when_a_look_takes_few(steps: Steps, database: Database) -> None:
    repairs = Repairs(database, documents_a_look=3)
    asked = [
        await steps.ask(str(turn), conversation_id=ConversationId(f"conv-{number}"))
        for number in range(7)
        for turn in range(2)
    ]
    await database.replies.update_many({}, {"$set": {"is_next": False}})
    found = []
    for _ in range(6):
        looked = await repairs.look()
        assert len(looked) <= 6
        found += looked
    assert {one.next_reply for one in found} == {reply.id for reply in asked[::2]}
    await database.replies.update_many({}, {"$set": {"is_next": False}})
    again = [one for _ in range(6) for one in await repairs.look()]
    assert len(again) == 7, "it starts anew"


@pytest.mark.parametrize("seed", range(2))
async def test_nothing_is_repaired_when_a_conversation_is_at_work(steps: Steps, repairs: Repairs, seed: int) -> None:
    bustle = Bustle(steps, seed)
    replies = [await steps.ask(str(number)) for number in range(10)]
    looks = 0
    found: list[Repaired] = []
    is_over = asyncio.Event()

    async def look_all_the_time() -> None:
        nonlocal looks
        while not is_over.is_set():
            found.extend(await repairs.look())
            looks += 1

    async def ask_more() -> None:
        for number in range(15):
            await steps.ask(f"more {number}")

    async def repair_all_the_time() -> None:
        """Without looking first: what is read while others write must not seem wrong."""
        while not is_over.is_set():
            repaired = await repairs.repair(KEY)
            found.extend([repaired] if repaired is not None else [])

    looking = [
        asyncio.create_task(look_all_the_time()),
        *(asyncio.create_task(repair_all_the_time()) for _ in range(3)),
    ]
    async with asyncio.timeout(60):
        with suppress(ClaimLost):
            await asyncio.gather(ask_more(), bustle.cancel(replies[::4]), *(
                bustle.work(WorkerId(f"wrk_{number}")) for number in range(3)
            ))  # fmt: skip
        await bustle.work(WorkerId("wrk_last"))
        is_over.set()
        await asyncio.gather(*looking)
    assert found == []
    assert looks > 10
    conversation = await steps.conversation()
    assert (conversation.active_reply, conversation.waiting_replies, conversation.reserved) == (None, 0, 0)


async def test_two_repairs_at_once_repair_once(steps: Steps, database: Database) -> None:
    reply = await steps.ask()
    await _break_reply(steps, reply.id, is_next=False)
    found = await asyncio.gather(*(Repairs(database).look() for _ in range(5)))
    assert [len(one) for one in found if one] == [1]


async def test_reply_is_answered_when_its_turn_was_lost(stage: Stage, steps: Steps) -> None:
    reply = await stage.ask("/script\nAt last.")
    await _break_reply(steps, reply.id, is_next=False)
    async with stage.worker(repair_interval_seconds=0.1):
        assert (await stage.ended(reply)).reply.status is ReplyStatus.COMPLETED


async def test_look_goes_through_indexes_alone(furnished: Furnished) -> None:
    plans = await plans_of(furnished, lambda database: Repairs(database).look())
    require(plans, "turns", "_id_")
    assert [sorted(plan.indexes) for plan in plans] == [["turns"], ["_id_"], ["_id_"], ["turns"]]


async def test_repair_goes_through_indexes_alone(furnished: Furnished) -> None:
    first = await furnished.reply(10, 41)
    await furnished.database.replies.update_one({"_id": first.id}, {"$set": {"is_next": False}})
    plans = await plans_of(furnished, lambda database: Repairs(database).repair(first.conversation_key))
    require(plans, "turns", "_id_")
    assert (await furnished.database.replies.find_one({"_id": first.id}) or {})["is_next"] is True
