"""Adds up the ledger: tokens and cost by conversation, character, model and so on, a page at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from message_service.ids import UserId
from message_service.store.database import Database, Row, reaching_the_store

TOKEN_FIELDS = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "reasoning_tokens")
SUMS = (*TOKEN_FIELDS, "attempts", "unpriced_attempts", "cost_nano_usd")
"""What is added up. Corrections count by being added as well."""


class Dimension(StrEnum):
    """What usage can be told apart by."""

    USER = "user"
    CONVERSATION = "conversation"
    CHARACTER = "character"
    MODEL = "model"
    PROVIDER = "provider"
    HOUR = "hour"
    DAY = "day"


_VALUES: Mapping[Dimension, Any] = {
    Dimension.USER: "$user_id",
    Dimension.CONVERSATION: "$conversation_id",
    # Absent and null must be one group with a place in the order.
    Dimension.CHARACTER: {"$ifNull": ["$character_id", None]},
    Dimension.MODEL: "$model",
    Dimension.PROVIDER: "$provider",
    Dimension.HOUR: {"$dateTrunc": {"date": "$at", "unit": "hour"}},
    Dimension.DAY: {"$dateTrunc": {"date": "$at", "unit": "day"}},
}

Group = tuple[Any, ...]
"""One value for each dimension asked for, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    user_id: UserId | None
    """None: of everybody."""
    since: datetime
    until: datetime
    """Not included."""
    group_by: tuple[Dimension, ...] = ()


@dataclass(frozen=True, slots=True)
class UsageRow:
    group: Group
    sums: Mapping[str, int]
    """By the names in `SUMS`, and `estimated_tokens`: how many of all tokens nobody reported."""


class UsageReports:
    def __init__(self, database: Database) -> None:
        self._usage = database.usage

    async def read(self, query: UsageQuery, *, after: Group | None = None, limit: int) -> Sequence[UsageRow]:
        """The first `limit` groups after that one, in the order of their values."""
        with reaching_the_store():
            # Groups are gathered on disk where they do not fit into memory.
            cursor = await self._usage.aggregate(_pipeline(query, after, limit), allowDiskUse=True)
            rows = await cursor.to_list()
        return [
            UsageRow(
                tuple(row["_id"][dimension.value] for dimension in query.group_by),
                {field: row[field] for field in (*SUMS, "estimated_tokens")},
            )
            for row in rows
        ]


def _pipeline(query: UsageQuery, after: Group | None, limit: int) -> list[Row]:
    match: Row = {"at": {"$gte": query.since, "$lt": query.until}}
    if query.user_id is not None:
        match["user_id"] = query.user_id
    group: Row = {dimension.value: _VALUES[dimension] for dimension in query.group_by}
    sums: Row = {field: {"$sum": f"${field}"} for field in SUMS}
    sums["estimated_tokens"] = {"$sum": {"$cond": ["$is_estimated", {"$add": ["$input_tokens", "$output_tokens"]}, 0]}}
    steps: list[Row] = [{"$match": match}, {"$group": {"_id": group, **sums}}]
    if after is not None:
        # Documents compare field by field in their order, which is the same in all of them.
        last = {dimension.value: value for dimension, value in zip(query.group_by, after, strict=True)}
        steps.append({"$match": {"_id": {"$gt": last}}})
    return [*steps, {"$sort": {"_id": 1}}, {"$limit": limit}]
