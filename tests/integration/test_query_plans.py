"""Every query the API and the worker run goes through the index made for it: asked of MongoDB itself."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from pymongo import AsyncMongoClient

from message_service.embedded.servers import EmbeddedServers
from message_service.errors import ClaimLost
from message_service.ids import (
    CharacterId,
    ConversationId,
    ConversationKey,
    MessageId,
    ReplyId,
    UserId,
    WorkerId,
    conversation_key,
    new_message_id,
)
from message_service.messages.message import Message, Role
from message_service.messages.reply import Reply, ReplyStatus, WorkKind
from message_service.store.accept import Acceptance
from message_service.store.claim import Claims
from message_service.store.database import Database, Row, open_database
from message_service.store.finish import Finishing
from message_service.store.idempotency import IdempotencyClaim, IdempotencyRecords
from message_service.store.mapping import message_to_row, reply_from_row, reply_to_row
from message_service.store.messages import Messages, PageFilter
from message_service.store.path import PathReader
from message_service.store.replies import Replies
from tests.fixtures.samples import MOMENT, a_message, a_new_reply, a_reply, a_submission, a_variant, completed
from tests.fixtures.stores import CommandLog

USERS = 20
CONVERSATIONS = 40
MESSAGES_EACH = 100
WORKERS = [WorkerId(f"wrk_{number}") for number in range(4)]
BOTH_KINDS = tuple(WorkKind)
_ABOUT_THE_CONNECTION = frozenset(
    ["lsid", "$db", "$clusterTime", "$readPreference", "txnNumber", "startTransaction", "autocommit", "readConcern", "writeConcern", "maxTimeMS", "apiVersion"]
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


@pytest.mark.parametrize("direction", ["ascending", "descending"])
@pytest.mark.parametrize("from_seq", [None, 60])
@pytest.mark.parametrize(
    "filter_",
    [
        PageFilter(),
        PageFilter(includes_deleted=True),
        PageFilter(role=Role.ASSISTANT),
        PageFilter(role=Role.USER),
        PageFilter(character_id=CharacterId("char-3")),
        PageFilter(since=MOMENT + timedelta(seconds=50)),
        PageFilter(until=MOMENT + timedelta(seconds=50)),
        PageFilter(metadata={"mood": "good", "a.b": "c"}),
        PageFilter(
            role=Role.USER,
            character_id=CharacterId("char-3"),
            since=MOMENT,
            until=MOMENT + timedelta(days=1),
            metadata={"mood": "good"},
            includes_deleted=True,
        ),
    ],
    ids=["all", "deleted too", "answers", "questions", "character", "since", "until", "metadata", "everything"],
)
async def test_page_is_read_in_the_order_of_the_path(
    furnished: Furnished, filter_: PageFilter, direction: Any, from_seq: int | None
) -> None:
    plans = await plans_of(
        furnished,
        lambda database: Messages(database).read(key(3), filter_, direction=direction, from_seq=from_seq, limit=10),
    )
    assert len(plans) == 1, "one round trip"
    require(plans, "path", "turns")


async def test_depth_costs_nothing_when_a_page_lies_far_back(furnished: Furnished) -> None:
    messages = Messages(furnished.database)
    examined = []
    for from_seq in (None, 90, 50, 20):
        furnished.log.commands.clear()
        await messages.read(key(3), PageFilter(), direction="descending", from_seq=from_seq, limit=10)
        (command,) = furnished.log.commands
        pipeline = [stage for stage in command["pipeline"] if "$unionWith" not in stage]
        explained = await furnished.database.database.command(
            {
                "explain": {"aggregate": "messages", "pipeline": pipeline, "cursor": {}},
                "verbosity": "executionStats",
            }
        )
        examined.append(explained["executionStats"]["totalDocsExamined"])
    assert all(11 <= count <= 13 for count in examined), examined


@dataclass(frozen=True)
class Query:
    """What a step of the service asks, and the indexes it is to be answered from."""

    ask: Callable[[Database], Awaitable[object]]
    indexes: tuple[str, ...]


async def ask_posted(database: Database) -> object:
    return await Messages(database).count_posted(user(3), since=MOMENT + timedelta(seconds=95), at_most=100)


async def ask_variants(database: Database) -> object:
    return await Replies(database).variants(question(3, 7), user(3))


READS = {
    "one message": Query(lambda database: Messages(database).find_visible(question(3, 7), user(3)), ("_id_",)),
    "seq of a bound": Query(lambda database: Messages(database).seq_of(question(3, 7), key(3)), ("_id_",)),
    "posted in a minute": Query(ask_posted, ("posted",)),
    "variants": Query(ask_variants, ("variants", "_id_")),
    "ended or not": Query(lambda database: Replies(database).has_ended(ReplyId("msg_x")), ("_id_",)),
    "first result of a key": Query(
        lambda database: IdempotencyRecords(database).find(IdempotencyClaim(user(3), "key-1", b"")), ("_id_",)
    ),
    "path": Query(
        lambda database: PathReader(database).newest_first(key(3), question(3, 99), lambda _: False),
        ("_id_", "path"),
    ),
    "unwritten reply on the path": Query(
        lambda database: PathReader(database).newest_first(key(3), new_message_id(), lambda _: False), ("_id_",)
    ),
}


@pytest.mark.parametrize("query", READS.values(), ids=READS)
async def test_read_goes_through_its_index(furnished: Furnished, query: Query) -> None:
    require(await plans_of(furnished, query.ask), *query.indexes)


async def test_place_in_the_line_is_counted_in_the_order_of_turns(furnished: Furnished) -> None:
    waiting = await furnished.reply(4, 45)
    plans = await plans_of(furnished, lambda database: Replies(database).find_visible(waiting.id, waiting.user_id))
    require(plans, "_id_", "turns")
    assert plans[-1].indexes == {"turns"}


async def test_text_of_an_ended_reply_is_found_by_its_id(furnished: Furnished) -> None:
    ended = await furnished.reply(4, 5)
    require(
        await plans_of(furnished, lambda database: Replies(database).find_visible(ended.id, ended.user_id)), "_id_"
    )


@pytest.mark.parametrize("kinds", [BOTH_KINDS, (WorkKind.REPLY,), (WorkKind.VARIANT,)], ids=str)
async def test_sweep_reads_only_what_is_due_in_its_order(
    furnished: Furnished, kinds: tuple[WorkKind, ...]
) -> None:
    plans = await plans_of(
        furnished, lambda database: Claims(database, lease_seconds=10).lost_ones(kinds, limit=50)
    )
    expired, ready = plans
    assert (expired.indexes, ready.indexes) == ({"leases"}, {"ready"})
    require(plans, "leases", "ready")


WORKER_QUERIES = {
    "renew": Query(
        lambda database: Claims(database, lease_seconds=10).renew([ReplyId("msg_x"), ReplyId("msg_y")], WORKERS[1]),
        ("owned", "_id_"),
    ),
    "held by": Query(lambda database: Claims(database, lease_seconds=10).held_by(WORKERS[1]), ("owned",)),
    "cancels for": Query(lambda database: Claims(database, lease_seconds=10).cancels_for(WORKERS[1]), ("owned",)),
    "expire": Query(lambda database: Claims(database, lease_seconds=10).expire(WORKERS[1]), ("owned",)),
}


@pytest.mark.parametrize("query", WORKER_QUERIES.values(), ids=WORKER_QUERIES)
async def test_worker_looks_only_at_what_it_holds(furnished: Furnished, query: Query) -> None:
    plans = await plans_of(furnished, query.ask)
    require(plans, *frozenset().union(*(plan.indexes for plan in plans)))
    assert frozenset().union(*(plan.indexes for plan in plans)) <= set(query.indexes)


async def test_claim_and_its_end_are_found_by_id_and_the_next_by_its_turn(furnished: Furnished) -> None:
    first = await furnished.reply(6, 41)
    claims, finishing = Claims(furnished.database, lease_seconds=10), Finishing(furnished.database)
    plans = await plans_of(furnished, lambda _: claims.claim(first.id, WORKERS[0]))
    require(plans, "_id_")
    row = await furnished.database.replies.find_one({"_id": first.id})
    assert row is not None
    claimed = reply_from_row(row)
    plans = await plans_of(furnished, lambda _: finishing.finish(claimed, completed()))
    require(plans, "_id_", "turns")
    (promotion,) = [plan for plan in plans if "turns" in plan.indexes]
    assert promotion.command["sort"] == {"turn": 1}
    assert promotion.command["query"] == {"conversation_key": key(6), "status": "queued"}

    async def finish_again(_: Database) -> None:
        with pytest.raises(ClaimLost):
            await finishing.finish(claimed, completed())

    require(await plans_of(furnished, finish_again), "_id_")


async def test_cancel_is_found_by_id_and_the_line_by_its_turns(furnished: Furnished) -> None:
    waiting = await furnished.reply(8, 43)
    plans = await plans_of(furnished, lambda database: Finishing(database).cancel(waiting.id, waiting.user_id))
    require(plans, "_id_", "turns")


async def test_hand_back_is_found_by_id(furnished: Furnished) -> None:
    running = await furnished.reply(9, 41)
    claims = Claims(furnished.database, lease_seconds=10)
    plans = await plans_of(
        furnished, lambda _: claims.hand_back(running, delay_seconds=0, is_attempt_counted=True)
    )
    require(plans, "_id_")


async def test_accept_looks_everything_up_by_id(furnished: Furnished) -> None:
    async def accept(database: Database) -> Message:
        acceptance = Acceptance(database, IdempotencyRecords(database))
        where = {"user_id": user(5), "conversation_id": ConversationId("conv-5")}
        accepted = await acceptance.accept(
            a_submission(
                parent_id=question(5, 7),
                reply=a_new_reply(),
                claim=IdempotencyClaim(user(5), "key-1", b"body"),
                **where,
            )
        )
        await acceptance.accept(a_variant(accepted.message))
        return accepted.message

    require(await plans_of(furnished, accept), "_id_")


async def test_deletion_is_found_by_id(furnished: Furnished) -> None:
    async def delete_and_restore(database: Database) -> None:
        await Messages(database).delete(question(5, 9), user(5))
        await Messages(database).restore(question(5, 9), user(5))

    require(await plans_of(furnished, delete_and_restore), "_id_")
