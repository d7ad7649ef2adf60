"""Listing dead letters reads those it shows, whatever is asked for: seen in what MongoDB examines."""

from typing import Any

import pytest

from message_service.ids import ReplyId
from message_service.messages.dead_letter import DeadLetterState
from message_service.store.dead_letters import DeadLetters
from tests.integration.explaining import Furnished, plans_of, require, user

SHOWN = 10
LISTINGS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "open": ({}, {"by_state"}),
    "dropped": ({"state": DeadLetterState.DROPPED}, {"by_state"}),
    "a user's": ({"user_id": user(3)}, {"by_user"}),
    "a usual code": ({"code": "timeout"}, {"by_code"}),
    "a rare code": ({"code": "rare"}, {"by_code"}),
    "a code of a user": ({"user_id": user(3), "code": "timeout"}, {"by_user", "by_code"}),
}


@pytest.mark.parametrize("before", [None, ReplyId(f"msg_{1500:026}")], ids=["newest", "further back"])
@pytest.mark.parametrize(("wanted", "indexes"), LISTINGS.values(), ids=LISTINGS)
async def test_no_more_is_examined_than_is_shown(
    furnished: Furnished, wanted: dict[str, Any], indexes: set[str], before: ReplyId | None
) -> None:
    letters = DeadLetters(furnished.database)
    plans = await plans_of(furnished, lambda _: letters.newest(limit=SHOWN, before=before, **wanted))
    require(plans, *plans[0].indexes)
    assert plans[0].indexes <= indexes
    assert len(plans) == len(plans[0].indexes) == 1
    command = {field: plans[0].command[field] for field in ("find", "filter", "sort", "limit")}
    explained = await furnished.database.database.command({"explain": command, "verbosity": "executionStats"})
    # One index serves two wishes at once: the other then costs what lies between.
    most = SHOWN if len(indexes) == 1 else SHOWN * 2
    assert explained["executionStats"]["totalDocsExamined"] <= most
