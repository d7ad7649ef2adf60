"""Every query the API and the worker run goes through the index made for it: asked of MongoDB itself."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from message_service.errors import ClaimLost
from message_service.ids import (
    CharacterId,
    ConversationId,
    ReplyId,
    new_message_id,
)
from message_service.messages.message import Message, Role
from message_service.messages.reply import WorkKind
from message_service.store.accept import Acceptance
from message_service.store.claim import Claims
from message_service.store.database import Database
from message_service.store.finish import Finishing
from message_service.store.idempotency import IdempotencyClaim, IdempotencyRecords
from message_service.store.mapping import reply_from_row
from message_service.store.messages import Messages
from message_service.store.pages import PageFilter, Pages
from message_service.store.path import PathReader
from message_service.store.replies import Replies
from tests.fixtures.samples import MOMENT, a_new_reply, a_submission, a_variant, completed
from tests.integration.explaining import (
    BOTH_KINDS,
    WORKERS,
    Furnished,
    key,
    plans_of,
    question,
    require,
    user,
)


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
        lambda database: Pages(database).read(key(3), filter_, direction=direction, from_seq=from_seq, limit=10),
    )
    assert len(plans) == 1, "one round trip"
    require(plans, "path", "turns")


async def test_depth_costs_nothing_when_a_page_lies_far_back(furnished: Furnished) -> None:
    pages = Pages(furnished.database)
    examined = []
    for from_seq in (None, 90, 50, 20):
        furnished.log.commands.clear()
        await pages.read(key(3), PageFilter(), direction="descending", from_seq=from_seq, limit=10)
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


async def ask_variants_of_a_minute(database: Database) -> object:
    return await Replies(database).count_variants(user(3), since=MOMENT + timedelta(seconds=95), at_most=100)


async def ask_variants(database: Database) -> object:
    return await Replies(database).variants(question(3, 7), user(3))


READS = {
    "one message": Query(lambda database: Messages(database).find_visible(question(3, 7), user(3)), ("_id_",)),
    "seq of a bound": Query(lambda database: Messages(database).seq_of(question(3, 7), key(3)), ("_id_",)),
    "posted in a minute": Query(ask_posted, ("posted",)),
    "variants in a minute": Query(ask_variants_of_a_minute, ("asked_again",)),
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
    require(await plans_of(furnished, lambda database: Replies(database).find_visible(ended.id, ended.user_id)), "_id_")


@pytest.mark.parametrize("kinds", [BOTH_KINDS, (WorkKind.REPLY,), (WorkKind.VARIANT,)], ids=str)
async def test_sweep_reads_only_what_is_due_in_its_order(furnished: Furnished, kinds: tuple[WorkKind, ...]) -> None:
    plans = await plans_of(furnished, lambda database: Claims(database, lease_seconds=10).lost_ones(kinds, limit=50))
    expired, *ready = plans
    assert expired.indexes == {"leases"}
    assert [plan.indexes for plan in ready] == [{"ready"}] * len(kinds)
    require(plans, "leases", "ready")


async def test_suspects_are_looked_for_among_those_whose_lease_is_over(furnished: Furnished) -> None:
    claims = Claims(furnished.database, lease_seconds=10, suspect_attempts=range(2, 5))
    plans = await plans_of(furnished, lambda _: claims.suspects([WorkKind.REPLY], limit=50))
    # There are no more of them than the workers that died had room for.
    require(plans, "leases", allows_sort=True)


WORKER_QUERIES = {
    "renew": Query(
        lambda database: Claims(database, lease_seconds=10).renew([ReplyId("msg_x"), ReplyId("msg_y")], WORKERS[1]),
        ("owned", "_id_"),
    ),
    "reprieve": Query(
        lambda database: Claims(database, lease_seconds=10).reprieve([ReplyId("msg_x")], WORKERS[1]), ("_id_", "owned")
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
    plans = await plans_of(furnished, lambda _: claims.hand_back(running, delay_seconds=0, is_attempt_counted=True))
    require(plans, "_id_")


async def test_accept_looks_everything_up_by_id(furnished: Furnished) -> None:
    async def accept(database: Database) -> Message:
        acceptance = Acceptance(database, IdempotencyRecords(database))
        accepted = await acceptance.accept(
            a_submission(
                user_id=user(5),
                conversation_id=ConversationId("conv-5"),
                parent_id=question(5, 7),
                reply=a_new_reply(),
                claim=IdempotencyClaim(user(5), "key-1", b"body"),
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
