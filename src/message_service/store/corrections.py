"""Changing what was booked without changing a row: a correction is another one, and sums count both."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from pymongo import ASCENDING
from pymongo.errors import BulkWriteError

from message_service.messages.reply import Usage
from message_service.store.database import Database, Row, reaching_the_store
from message_service.store.mapping import usage_from_row
from message_service.store.usage_report import TOKEN_FIELDS

_BATCH = 1000
_DUPLICATE_KEY = 11000
_NO_TOKENS = dict.fromkeys(TOKEN_FIELDS, 0)


@dataclass(frozen=True, slots=True)
class Entry:
    """An attempt in the ledger, its corrections taken in."""

    row: Row
    usage: Usage
    cost_nano_usd: int | None
    corrections: int


@dataclass(frozen=True, slots=True)
class Correction:
    entry: Entry
    cost_nano_usd: int
    """What the attempt costs, not the difference."""


class Corrections:
    def __init__(self, database: Database) -> None:
        self._usage = database.usage

    async def entries(self, since: datetime) -> AsyncIterator[Sequence[Entry]]:
        """All attempts booked since then, oldest first, in batches."""
        after: Row = {"at": {"$gte": since}}
        while True:
            with reaching_the_store():
                rows = await self._usage.find(
                    {**after, "corrects": None}, sort=[("at", ASCENDING), ("_id", ASCENDING)], limit=_BATCH
                ).to_list()
                corrections = await self._usage.find({"corrects": {"$in": [row["_id"] for row in rows]}}).to_list()
            if not rows:
                return
            by_corrected: dict[str, list[Row]] = {}
            for correction in corrections:
                by_corrected.setdefault(correction["corrects"], []).append(correction)
            yield [_entry(row, by_corrected.get(row["_id"], [])) for row in rows]
            last = rows[-1]
            after = {"$or": [{"at": {"$gt": last["at"]}}, {"at": last["at"], "_id": {"$gt": last["_id"]}}]}

    async def correct(self, corrections: Sequence[Correction], price_table: str) -> int:
        """Book the differences; how many rows that were. What somebody else corrected meanwhile is let be."""
        if not corrections:
            return 0
        rows = [_row(one, price_table) for one in corrections]
        with reaching_the_store():
            try:
                return len((await self._usage.insert_many(rows, ordered=False)).inserted_ids)
            except BulkWriteError as fault:
                if any(error["code"] != _DUPLICATE_KEY for error in fault.details["writeErrors"]):
                    raise
                return int(fault.details["nInserted"])


def _entry(row: Row, corrections: Sequence[Row]) -> Entry:
    usage = usage_from_row(row)
    assert usage is not None, "every row has its tokens"
    known = [one["cost_nano_usd"] for one in [row, *corrections] if "cost_nano_usd" in one]
    return Entry(row, usage, sum(known) if known else None, len(corrections))


def _row(correction: Correction, price_table: str) -> Row:
    entry = correction.entry
    kept = ("reply_id", "user_id", "conversation_id", "character_id", "provider", "model", "at")
    return {
        **{field: entry.row[field] for field in kept if field in entry.row},
        # Numbered, so that of two who correct the same at once one writes nothing.
        "_id": f"{entry.row['_id']} +{entry.corrections + 1}",
        "corrects": entry.row["_id"],
        "is_kept": False,
        "is_estimated": False,
        "attempts": 0,
        "unpriced_attempts": -1 if entry.cost_nano_usd is None else 0,
        "cost_nano_usd": correction.cost_nano_usd - (entry.cost_nano_usd or 0),
        "price_table": price_table,
        **_NO_TOKENS,
    }
