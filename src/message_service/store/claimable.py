"""Which replies can be claimed, as filters. Their times are the server's."""

from collections.abc import Sequence
from typing import Any

from message_service.ids import ReplyId
from message_service.store.database import Row

_LEASE_IS_OVER = {"$lt": ["$lease_until", "$$NOW"]}
READY: Row = {"status": "queued", "is_next": True, "$expr": {"$lte": ["$not_before", "$$NOW"]}}


def orphaned(suspect_attempts: range) -> Row:
    """Its worker is gone, and it runs again at once."""
    return {"status": "running", "$expr": _LEASE_IS_OVER, "$nor": [_is_suspicious(suspect_attempts)]}


def suspected(suspect_attempts: range) -> Row:
    """Its worker is gone, not for the first time: it may be what workers die of."""
    suspicious = _is_suspicious(suspect_attempts)
    return {"status": "running", **suspicious, "$expr": {"$and": [_LEASE_IS_OVER, suspicious["$expr"]]}}


def claimable(suspect_attempts: range, on_probation: Sequence[ReplyId]) -> Row:
    """Whatever is ready or orphaned, and those of the suspected."""
    alternatives = [READY, orphaned(suspect_attempts)]
    if on_probation:
        alternatives.append({"_id": {"$in": list(on_probation)}, **suspected(suspect_attempts)})
    return {"$or": alternatives}


def _is_suspicious(suspect_attempts: range) -> dict[str, Any]:
    # What was cancelled or is too late is only ended, which kills nobody.
    return {
        "attempts": {"$gte": suspect_attempts.start, "$lt": suspect_attempts.stop},
        "is_cancel_requested": {"$ne": True},
        "$expr": {"$gt": ["$deadline", "$$NOW"]},
    }
