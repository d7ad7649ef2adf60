"""What replies used, through HTTP: one's own, by groups, in pages; others' for admins alone."""

from typing import Any

import pytest

from tests.acceptance.expectations import expect_problem
from tests.fixtures.client import Client
from tests.fixtures.service import Service


async def _used(caller: Client, conversations: int = 2) -> None:
    for number in range(conversations):
        reply = await caller.ask("/script rate=max tokens=7", f"conv-{number}", character_id=f"char-{number}")
        await caller.ended(reply["id"])


async def test_own_usage_is_one_sum_that_the_messages_add_up_to(service: Service) -> None:
    caller = service.client()
    await _used(caller)
    answers = [(await caller.page(f"conv-{number}"))["data"][0]["usage"] for number in range(2)]
    answer = await caller.get("/v1/usage")
    assert answer.status == 200
    (row,) = answer.json["data"]
    assert row["attempts"] == 2
    assert row["output_tokens"] == sum(usage["output_tokens"] for usage in answers) == 14
    assert row["input_tokens"] == sum(usage["input_tokens"] for usage in answers)
    assert row["total_tokens"] == row["input_tokens"] + row["output_tokens"]
    assert (row["cost_nano_usd"], row["unpriced_attempts"]) == (0, 0)
    assert answer.json["since"] < answer.json["until"]


async def test_groups_come_in_pages(service: Service) -> None:
    caller = service.client()
    await _used(caller, conversations=3)
    seen: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        params = {"group_by": "provider,conversation,character,day", "limit": "1", **cursor}
        page = (await caller.get("/v1/usage", params=params)).json
        seen += page["data"]
        if not page["has_more"]:
            break
        cursor = {"after": page["next_cursor"]}
    assert [row["conversation_id"] for row in seen] == ["conv-0", "conv-1", "conv-2"]
    assert [row["character_id"] for row in seen] == ["char-0", "char-1", "char-2"]
    assert {row["provider"] for row in seen} == {"scripted"}
    assert all(row["day"].endswith("T00:00:00.000Z") for row in seen)


async def test_others_are_for_admins(service: Service) -> None:
    caller = service.client()
    await _used(caller, conversations=1)
    name = caller.headers["X-User-Id"]
    stranger = service.client()
    assert (await stranger.get("/v1/usage")).json["data"] == []
    for params in ({"user_id": name}, {"all_users": "true"}):
        expect_problem(await stranger.get("/v1/usage", params=params), 403, "forbidden", instance="/v1/usage")
    admin = stranger.saying(X_User_Roles="admin")
    assert (await admin.get("/v1/usage", params={"user_id": name})).json["data"][0]["attempts"] == 1
    everybody = await admin.get("/v1/usage", params={"all_users": "true", "group_by": "user", "limit": "1000"})
    assert name in [row["user_id"] for row in everybody.json["data"]]


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"group_by": "weekday"}, "/group_by"),
        ({"group_by": "model,model"}, "/group_by"),
        ({"group_by": "hour,day"}, "/group_by"),
        ({"group_by": ""}, "/group_by"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "/since"),
        ({"since": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "/since"),
        ({"since": "2024-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, "/since"),
        ({"since": "2025-11-01T00:00:00Z", "until": "2026-01-01T00:00:00Z", "group_by": "hour"}, "/since"),
        ({"since": "yesterday"}, "/since"),
        ({"until": "0001-01-05T00:00:00Z"}, "/until"),
        ({"until": "9999-12-31T23:00:00-02:00"}, "/until"),
        ({"limit": "0"}, "/limit"),
        ({"limit": "1001"}, "/limit"),
        ({"colour": "red"}, "/colour"),
    ],
)
async def test_question_is_refused_by_the_field_that_is_wrong(
    service: Service, params: dict[str, str], pointer: str
) -> None:
    answer = await service.client().get("/v1/usage", params=params)
    expect_problem(answer, 422, "validation_failed", instance="/v1/usage")
    assert [fault["pointer"] for fault in answer.json["errors"]] == [pointer]


async def test_cursor_of_another_question_is_refused(service: Service) -> None:
    caller = service.client()
    await _used(caller)
    page = (await caller.get("/v1/usage", params={"group_by": "conversation", "limit": "1"})).json
    for params in ({"group_by": "model"}, {}):
        answer = await caller.get("/v1/usage", params={**params, "after": page["next_cursor"]})
        expect_problem(answer, 400, "invalid_cursor", instance="/v1/usage")
    for cursor in ("x", "****", "\u00e9"):
        answer = await caller.get("/v1/usage", params={"group_by": "conversation", "after": cursor})
        expect_problem(answer, 400, "invalid_cursor", instance="/v1/usage")
