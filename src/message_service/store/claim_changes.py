"""What a claim and its handing back change, as updates. Their times are the server's."""

from collections.abc import Sequence
from typing import Any

from bson import ObjectId

from message_service.ids import WorkerId
from message_service.messages.reply import Attempt, ReplyError
from message_service.store.mapping import MOST_ATTEMPTS_KEPT, attempt_to_row

_WITH_THE_LAST_CLAIM = {
    "$concatArrays": [
        {"$ifNull": ["$abandoned", []]},
        # A claim's token tells its time.
        [{"epoch": "$epoch", "claimed_at": {"$toDate": "$claim"}, "attempts": {"$ifNull": ["$under_way", []]}}],
    ]
}
"""What is still to be booked of claims that nobody ended: see `Ledger.book_abandoned`."""


def taken(worker: WorkerId, token: ObjectId, lease_until: dict[str, Any]) -> list[dict[str, Any]]:
    """The update that makes a reply the worker's; `token` is the command's own."""
    return [
        {
            "$set": {
                "status": "running",
                "owner": worker,
                "claim": token,
                "lease_until": lease_until,
                "epoch": {"$add": ["$epoch", 1]},
                # Counted before the work, so that a message which kills its worker is counted too.
                "attempts": {"$add": ["$attempts", 1]},
                "started_at": {"$ifNull": ["$started_at", "$$NOW"]},
                "abandoned": {"$cond": [{"$eq": ["$status", "running"]}, _WITH_THE_LAST_CLAIM, "$abandoned"]},
                "under_way": "$$REMOVE",
            }
        }
    ]


def handed_back(
    *, delay_seconds: float, is_attempt_counted: bool, why: ReplyError | None, attempt_log: Sequence[Attempt]
) -> list[dict[str, Any]]:
    """The update that makes a running reply a queued one."""
    logged = {"$ifNull": ["$attempt_log", []]}
    rows = {"$literal": [attempt_to_row(attempt) for attempt in attempt_log]}
    setback = {"setback": {"$literal": {"code": why.code, "detail": why.detail}}} if why is not None else {}
    return [
        {
            "$set": {
                "status": "queued",
                # Nobody has to wait for another attempt at what somebody asked to stop: the next claim ends it.
                "not_before": {
                    "$cond": ["$is_cancel_requested", "$$NOW", {"$add": ["$$NOW", int(delay_seconds * 1000)]}]
                },
                "attempts": {"$subtract": ["$attempts", 0 if is_attempt_counted else 1]},
                "attempt_log": {"$slice": [{"$concatArrays": [logged, rows]}, -MOST_ATTEMPTS_KEPT]},
                **setback,
            }
        },
        {"$unset": ["owner", "lease_until", "under_way"]},
    ]
