"""The step in MongoDB's words is the rule in ours, from every state a conversation can be in."""

from dataclasses import replace

import pytest
from pymongo import ReturnDocument

from message_service.ids import MessageId, ReplyId, new_message_id, new_reply_id
from message_service.messages.conversation import Conversation
from message_service.store.conversation_step import step_pipeline
from message_service.store.database import Database
from message_service.store.mapping import conversation_from_row, conversation_to_row
from tests.fixtures.samples import CONVERSATION, KEY, USER

NEW = Conversation(key=KEY, user_id=USER, conversation_id=CONVERSATION)
STATES = {
    "not stored yet": None,
    "at rest": replace(NEW, last_seq=4, asked_replies=2, head=MessageId("msg_a")),
    "answering": replace(
        NEW, last_seq=4, reserved=1, asked_replies=3, head=MessageId("msg_b"), active_reply=ReplyId("msg_b")
    ),
    "with a line": replace(
        NEW,
        last_seq=7,
        reserved=3,
        asked_replies=9,
        head=MessageId("msg_c"),
        active_reply=ReplyId("msg_b"),
        waiting_replies=2,
    ),
}


@pytest.mark.parametrize(("is_with_message", "is_with_reply"), [(True, False), (True, True), (False, True)])
@pytest.mark.parametrize("state", STATES)
async def test_step_does_what_the_rule_says(
    database: Database, state: str, is_with_message: bool, is_with_reply: bool
) -> None:
    before = STATES[state]
    if before is not None:
        await database.conversations.insert_one({"_id": KEY, **conversation_to_row(before)})
    message = new_message_id() if is_with_message else None
    reply = new_reply_id() if is_with_reply else None
    expected = before or NEW
    if message is not None:
        expected = expected.with_message(message)
    if reply is not None:
        expected = expected.with_reply(reply)
    row = await database.conversations.find_one_and_update(
        {"_id": KEY},
        step_pipeline(USER, CONVERSATION, message, reply),
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    assert row is not None
    assert conversation_from_row(row) == expected
    assert set(row) == {"_id", *conversation_to_row(expected)}
