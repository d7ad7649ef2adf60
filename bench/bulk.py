"""Fills a collection with full conversations faster than HTTP could, in the very shape that each side stores."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.write_concern import WriteConcern

from bench import floor
from bench.traffic import content
from message_service.ids import ConversationId, MessageId, UserId, conversation_key, new_message_id
from message_service.messages.conversation import MAX_MESSAGES, Conversation
from message_service.messages.message import Message, Role
from message_service.store.mapping import conversation_to_row, message_to_row

Row = dict[str, Any]
_FIRST_MESSAGE_AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class FullConversation:
    """A conversation of `MAX_MESSAGES` messages that is stored."""

    user: str
    conversation_id: str
    second_page_id: str
    """Of message 51: the page before it is the oldest there is."""
    third_page_id: str
    """Of message 101."""


def fill_ours(mongodb_url: str, database: str, conversations: int) -> list[FullConversation]:
    """The service must have created its indexes before."""
    return _fill(mongodb_url, database, conversations, _insert_ours)


def fill_floor(mongodb_url: str, database: str, conversations: int) -> list[FullConversation]:
    return _fill(mongodb_url, database, conversations, _insert_floor)


def _fill(
    url: str, database: str, conversations: int, insert: Callable[[Database[Row], str, str, list[str]], list[str]]
) -> list[FullConversation]:
    random_source = random.Random(database)
    contents = [content(random_source, number) for number in range(MAX_MESSAGES)]
    filled = []
    with MongoClient[Row](url, tz_aware=True) as client:
        target = client.get_database(database, write_concern=WriteConcern(w=1, j=False))
        for number in range(conversations):
            user, conversation_id = f"reader-{number}", f"history-{number}"
            ids = insert(target, user, conversation_id, contents)
            filled.append(FullConversation(user, conversation_id, second_page_id=ids[50], third_page_id=ids[100]))
        # What was written without waiting is in a checkpoint before anything is measured.
        client.admin.command("fsync")
    return filled


def _insert_ours(target: Database[Row], user: str, conversation_id: str, contents: list[str]) -> list[str]:
    user_id, conversation = UserId(user), ConversationId(conversation_id)
    ids = [new_message_id() for _ in contents]
    parents: list[MessageId | None] = [None, *ids[:-1]]
    rows = [
        message_to_row(
            Message(
                id=ids[index],
                conversation_id=conversation,
                user_id=user_id,
                seq=index + 1,
                parent_id=parents[index],
                role=Role.USER if index % 2 == 0 else Role.ASSISTANT,
                content=text,
                tokens=len(text) // 4,
                created_at=_FIRST_MESSAGE_AT + timedelta(seconds=index),
                reply_to=None if index % 2 == 0 else parents[index],
            )
        )
        for index, text in enumerate(contents)
    ]
    key = conversation_key(user_id, conversation)
    stored = Conversation(key=key, user_id=user_id, conversation_id=conversation, last_seq=len(contents), head=ids[-1])
    target["messages"].insert_many(rows, ordered=False)
    target["conversations"].insert_one({"_id": key, **conversation_to_row(stored)})
    return list(ids)


def _insert_floor(target: Database[Row], user: str, conversation_id: str, contents: list[str]) -> list[str]:
    rows: list[Row] = [
        {
            "_id": ObjectId(),
            "conversation_id": conversation_id,
            "user_id": user,
            "role": "user" if index % 2 == 0 else "assistant",
            "content": text,
            "created_at": _FIRST_MESSAGE_AT + timedelta(seconds=index),
        }
        for index, text in enumerate(contents)
    ]
    target[floor.COLLECTION].insert_many(rows, ordered=False)
    return [str(row["_id"]) for row in rows]
