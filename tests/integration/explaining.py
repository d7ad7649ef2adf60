"""What MongoDB plans to do with the commands the store sends it, on collections with enough in them to choose."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest_asyncio
from pymongo import AsyncMongoClient

from message_service.embedded.servers import EmbeddedServers
from message_service.ids import (
    CharacterId,
    ConversationId,
    ConversationKey,
    MessageId,
    UserId,
    WorkerId,
    conversation_key,
)
from message_service.messages.message import Role
from message_service.messages.reply import Reply, ReplyStatus, WorkKind
from message_service.store.database import Database, Row, open_database
from message_service.store.mapping import message_to_row, reply_from_row, reply_to_row
from tests.fixtures.samples import MOMENT, a_message, a_reply
from tests.fixtures.stores import CommandLog

USERS = 20
CONVERSATIONS = 40
MESSAGES_EACH = 100
WORKERS = [WorkerId(f"wrk_{number}") for number in range(4)]
BOTH_KINDS = tuple(WorkKind)
_ABOUT_THE_CONNECTION = frozenset(
    [
        "lsid",
        "$db",
        "$clusterTime",
        "$readPreference",
        "txnNumber",
        "startTransaction",
        "autocommit",
        "readConcern",
        "writeConcern",
        "maxTimeMS",
        "apiVersion",
    ]
)


def user(number: int) -> UserId:
    return UserId(f"user-{number % USERS}")


def key(number: int) -> ConversationKey:
    return conversation_key(user(number), ConversationId(f"conv-{number}"))


def question(conversation: int, seq: int) -> MessageId:
    return MessageId(f"msg_{conversation}_{seq}")


def message_rows() -> Iterator[Row]:
    for conversation in range(CONVERSATIONS):
        for seq in range(1, MESSAGES_EACH + 1):
            message = a_message(
                seq,
                id=question(conversation, seq),
                user_id=user(conversation),
                conversation_id=ConversationId(f"conv-{conversation}"),
                parent_id=question(conversation, seq - 1) if seq > 1 else None,
                role=Role.USER if seq % 2 else Role.ASSISTANT,
                character_id=CharacterId(f"char-{seq % 5}"),
                metadata={"mood": "good"} if seq % 10 == 0 else {},
                created_at=MOMENT + timedelta(seconds=seq),
            )
            yield message_to_row(message) | ({"deleted_at": MOMENT} if seq % 20 == 0 else {})


def reply_rows() -> Iterator[Row]:
    """In each conversation 40 that ended, one that runs or is to be taken, and nine that wait."""
    for conversation in range(CONVERSATIONS):
        for turn in range(1, 51):
            is_kind = WorkKind.VARIANT if turn % 3 == 0 else WorkKind.REPLY
            status = ReplyStatus.COMPLETED if turn <= 40 else ReplyStatus.QUEUED
            is_next = turn == 41
            lease: Row = {}
            if is_next and conversation % 2:
                status = ReplyStatus.RUNNING
                age = timedelta(seconds=conversation)
                lease = {"owner": WORKERS[conversation % 4], "lease_until": MOMENT - age, "epoch": 1}
            reply = a_reply(
                message_id=question(conversation, turn * 2 - 1),
                user_id=user(conversation),
                conversation_id=ConversationId(f"conv-{conversation}"),
                conversation_key=key(conversation),
                status=status,
                kind=is_kind,
            )
            row = reply_to_row(reply, turn=turn, is_next=is_next, fallback_head=reply.message_id)
            yield row | {"status": status.value} | lease


def dead_letter_rows() -> Iterator[Row]:
    """Five of six are open and of two usual codes; one in a hundred is of a rare one."""
    for number in range(2000):
        yield {
            "_id": f"msg_{number:026}",
            "message_id": question(number % CONVERSATIONS, 1),
            "user_id": user(number),
            "conversation_id": f"conv-{number % CONVERSATIONS}",
            "kind": WorkKind.REPLY.value,
            "asked": {},
            "error": {
                "code": "rare" if number % 100 == 7 else "timeout" if number % 2 else "too_many_attempts",
                "detail": "",
            },
            "attempts": 1,
            "asked_at": MOMENT,
            "failed_at": MOMENT,
            "state": "dropped" if number % 6 == 0 else "open",
        }


@dataclass(frozen=True)
class Furnished:
    """A database with enough in it that the planner has a choice, and a log of what it is asked."""

    database: Database
    log: CommandLog

    async def reply(self, conversation: int, turn: int) -> Reply:
        row = await self.database.replies.find_one({"conversation_key": key(conversation), "turn": turn})
        assert row is not None
        self.log.commands.clear()
        return reply_from_row(row)


@pytest_asyncio.fixture(scope="module")
async def furnished(servers: EmbeddedServers) -> AsyncIterator[Furnished]:
    log = CommandLog()
    name = "test_query_plans"
    async with open_database(servers.mongodb_url, name, role="test", with_indexes=True) as plain:
        await plain.messages.insert_many(message_rows())
        replies = list(reply_rows())
        random.Random(1).shuffle(replies)
        await plain.replies.insert_many(replies)
        await plain.dead_letters.insert_many(dead_letter_rows())
        await plain.conversations.insert_many(
            {
                "_id": key(number),
                "user_id": user(number),
                "conversation_id": f"conv-{number}",
                "last_seq": MESSAGES_EACH,
                "reserved": 10,
                "asked_replies": 50,
                "head": question(number, MESSAGES_EACH),
                "active_reply": next(
                    row["_id"] for row in replies if row["conversation_key"] == key(number) and row["turn"] == 41
                ),
                "waiting_replies": 9,
            }
            for number in range(CONVERSATIONS)
        )
        client: AsyncMongoClient[Row] = AsyncMongoClient(servers.mongodb_url, event_listeners=[log], tz_aware=True)
        async with client:
            yield Furnished(Database(client, name), log)
        await plain.client.drop_database(name)


@dataclass(frozen=True)
class Plan:
    """How MongoDB would run one command."""

    command: Mapping[str, Any]
    stages: tuple[str, ...]
    indexes: frozenset[str]


async def plans_of(furnished: Furnished, ask: Callable[[Database], Awaitable[object]]) -> list[Plan]:
    """The plans of every query and targeted write that `ask` sends, in order."""
    furnished.log.commands.clear()
    await ask(furnished.database)
    sent = [command for command in furnished.log.commands if _is_query(command)]
    assert sent, "something was asked"
    return [Plan(command, *await _explain(furnished.database, command)) for command in sent]


def _is_query(command: Mapping[str, Any]) -> bool:
    name = next(iter(command))
    if name == "update":
        return True
    return name in {"find", "aggregate", "findAndModify", "count", "delete", "distinct"}


async def _explain(database: Database, command: Mapping[str, Any]) -> tuple[tuple[str, ...], frozenset[str]]:
    plain = {field: value for field, value in command.items() if field not in _ABOUT_THE_CONNECTION}
    if "updates" in plain:
        plain["updates"] = plain["updates"][:1]  # explain takes one, and all of a batch look alike
    explained = await database.database.command({"explain": plain, "verbosity": "queryPlanner"})
    stages: list[str] = []
    indexes: set[str] = set()
    for plan in _winning(explained):
        for node in _nodes(plan):
            stages.append(node["stage"])
            if "indexName" in node:
                indexes.add(node["indexName"])
            if node["stage"] == "IDHACK":
                indexes.add("_id_")
    return tuple(stages), frozenset(indexes)


def _winning(explained: Any) -> Iterator[Any]:
    if isinstance(explained, dict):
        for field, value in explained.items():
            if field == "winningPlan":
                yield value
            elif field not in ("rejectedPlans", "command"):
                yield from _winning(value)
    elif isinstance(explained, list):
        for value in explained:
            yield from _winning(value)


def _nodes(plan: Any) -> Iterator[dict[str, Any]]:
    """The stages of a plan. Of one that the slot-based engine runs, only the readable half."""
    if isinstance(plan, dict):
        if "stage" in plan:
            yield plan
        for field, value in plan.items():
            if field != "slotBasedPlan":
                yield from _nodes(value)
    elif isinstance(plan, list):
        for value in plan:
            yield from _nodes(value)


def require(plans: list[Plan], *indexes: str, allows_sort: bool = False) -> None:
    """Each plan scans indexes alone, and together they are `indexes`."""
    for plan in plans:
        assert plan.stages, plan.command
        assert "COLLSCAN" not in plan.stages, plan
        assert allows_sort or "SORT" not in plan.stages, plan
        assert plan.indexes, plan
    assert frozenset().union(*(plan.indexes for plan in plans)) == set(indexes), plans
