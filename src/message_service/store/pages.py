"""Reading a conversation's messages in pages, as they are stored: a page is the hottest thing read here.

Building an object for each of its rows takes longer than fetching them, so a page hands them on as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from bson.codec_options import CodecOptions

from message_service.coalesce import Coalescer
from message_service.ids import CharacterId, ConversationKey
from message_service.messages.message import Role
from message_service.messages.reply import Reply
from message_service.store.database import LONGEST_WAIT_SECONDS, Database, Row, reaching_the_store, store_is_late
from message_service.store.mapping import reply_from_row

_ACTIVE = {"status": {"$in": ["queued", "running"]}}
# Enough to share a round trip's cost, few enough that nobody waits long for somebody else's page.
_MOST_PAGES_A_TRIP = 6
_PAGE_TRIPS_IN_FLIGHT = 2
_ROWS_A_BATCH = 1000
_PAGE = "page"
"""Field that says which of the pages of a trip a row belongs to, by its place."""

# Giving each time its zone takes as long as all else there is to decode.
_WITHOUT_ZONES: CodecOptions[Row] = CodecOptions(tz_aware=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFilter:
    """Which messages of a conversation a page may show."""

    role: Role | None = None
    character_id: CharacterId | None = None
    since: datetime | None = None
    """Created then or later."""
    until: datetime | None = None
    """Created before then."""
    metadata: dict[str, str] = field(default_factory=dict)
    includes_deleted: bool = False

    def to_query(self) -> Row:
        query: Row = {} if self.includes_deleted else {"deleted_at": None}
        if self.role is not None:
            query["role"] = self.role.value
        if self.character_id is not None:
            query["character_id"] = self.character_id
        created = {"$gte": self.since, "$lt": self.until}
        if bounds := {operator: bound for operator, bound in created.items() if bound is not None}:
            query["created_at"] = bounds
        if self.metadata:
            # $getField takes the key literally, so a key with a dot or a dollar reaches nothing else.
            query["$expr"] = {
                "$and": [
                    {"$eq": [{"$getField": {"field": {"$literal": key}, "input": "$metadata"}}, {"$literal": value}]}
                    for key, value in self.metadata.items()
                ]
            }
        return query


@dataclass(frozen=True, slots=True)
class Slice:
    """Consecutive messages in the order they were asked for, and the conversation's unfinished replies."""

    rows: list[Row]
    """Messages as stored. Their times are UTC and do not say so."""
    active_replies: list[Reply]
    has_more: bool
    """Whether more follow in the direction of reading."""


@dataclass(frozen=True, slots=True)
class _Read:
    """One page as aggregation stages on the messages. `name` is the same for whoever asks for the same."""

    key: ConversationKey
    stages: list[dict[str, Any]]
    name: str


class Pages:
    """Pages of the messages of a conversation, and the unfinished replies of it."""

    def __init__(self, database: Database) -> None:
        self._messages = database.messages.with_options(codec_options=_WITHOUT_ZONES)
        self._replies_name = database.replies.name
        self._reads: Coalescer[_Read, list[Row]] = Coalescer(
            self._read_together,
            max_items=_MOST_PAGES_A_TRIP,
            max_in_flight=_PAGE_TRIPS_IN_FLIGHT,
            longest_wait_seconds=LONGEST_WAIT_SECONDS,
            too_late=store_is_late,
        )

    async def read(
        self,
        key: ConversationKey,
        filter_: PageFilter,
        *,
        direction: Literal["ascending", "descending"],
        from_seq: int | None,
        limit: int,
    ) -> Slice:
        """Up to `limit` messages from `from_seq` (inclusive) onwards in `direction`; None starts at the end or head.

        Pages asked for together share a round trip, and the unfinished replies ride along.
        """
        is_ascending = direction == "ascending"
        query: Row = {"conversation_key": key, **filter_.to_query()}
        if from_seq is not None:
            query["seq"] = {"$gte" if is_ascending else "$lte": from_seq}
        stages: list[Row] = [{"$match": query}, {"$sort": {"seq": 1 if is_ascending else -1}}, {"$limit": limit + 1}]
        name = f"{direction} {from_seq} {limit} {query!r}"
        rows = await self._reads.call(_Read(key, stages, name))
        messages = [row for row in rows if "seq" in row]
        active = [_reply(row) for row in rows if "turn" in row]
        return Slice(messages[:limit], active, has_more=len(messages) > limit)

    async def _read_together(self, reads: Sequence[_Read]) -> Sequence[list[Row]]:
        """The rows of each page, its conversation's unfinished replies among them, in one aggregation."""
        different = {read.name: read for read in reads}
        # Alone a page needs no mark, and the plan without one is simpler.
        is_marked = len(different) > 1
        pages = [
            [*read.stages, {"$set": {_PAGE: place}}] if is_marked else read.stages
            for place, read in enumerate(different.values())
        ]
        keys = list({read.key for read in reads})
        of_keys = {"conversation_key": keys[0] if len(keys) == 1 else {"$in": keys}, **_ACTIVE}
        active = [{"$match": of_keys}, {"$sort": {"conversation_key": 1, "turn": 1}}]
        pipeline = [
            *pages[0],
            *({"$unionWith": {"coll": self._messages.name, "pipeline": page}} for page in pages[1:]),
            {"$unionWith": {"coll": self._replies_name, "pipeline": active}},
        ]
        with reaching_the_store():
            cursor = await self._messages.aggregate(pipeline, batchSize=_ROWS_A_BATCH)
            rows = await cursor.to_list()
        of_page: list[list[Row]] = [[] for _ in different]
        of_conversation: dict[ConversationKey, list[Row]] = {key: [] for key in keys}
        for row in rows:
            if "seq" in row:
                of_page[row[_PAGE] if is_marked else 0].append(row)
            else:
                of_conversation[row["conversation_key"]].append(row)
        places = {name: place for place, name in enumerate(different)}
        return [[*of_page[places[read.name]], *of_conversation[read.key]] for read in reads]


def _reply(row: Row) -> Reply:
    """The reply in a row that was read without zones."""
    return reply_from_row(
        {name: value.replace(tzinfo=UTC) if isinstance(value, datetime) else value for name, value in row.items()}
    )
