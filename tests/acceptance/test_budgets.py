"""Budgets through HTTP: refused with what is left and until when, exact over processes, each user's own by admins."""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.acceptance.expectations import expect_problem
from tests.fixtures.client import Answer, Client
from tests.fixtures.service import Service, StartService

_BUDGET = 3_000
_SCRIPT = "/script rate=max tokens=100"
_MOST_OUTPUT = 100


@pytest_asyncio.fixture(scope="module")
async def thrifty(start_service: StartService) -> AsyncIterator[Service]:
    async with start_service(apis=2, workers=1, BUDGET_TOKENS_PER_DAY=str(_BUDGET)) as running:
        yield running


async def _post(caller: Client, conversation: int) -> Answer:
    body = {
        "conversation_id": f"conv-{conversation}",
        "content": _SCRIPT,
        "reply": {"max_output_tokens": _MOST_OUTPUT},
    }
    return await caller.post("/v1/messages", body)


async def test_fifty_at_once_over_two_processes_never_use_more_than_the_budget(thrifty: Service) -> None:
    name = thrifty.client().headers["X-User-Id"]
    callers = [thrifty.client(name, api=number) for number in range(2)]
    answers = await asyncio.gather(*(_post(callers[number % 2], number) for number in range(50)))
    taken = [answer for answer in answers if answer.status == 202]
    assert len(taken) + [answer.status for answer in answers].count(429) == 50
    assert 0 < len(taken) < 50
    for answer in taken:
        await callers[0].ended(answer.json["reply"]["id"])
    (used,) = (await callers[0].get("/v1/usage")).json["data"]
    # Prompt and longest text are known here, so estimates are never too low and the bound is the budget itself.
    assert used["total_tokens"] <= _BUDGET
    admin = callers[1].saying(X_User_Roles="admin")
    budget = (await admin.get(f"/v1/admin/limits/{name}")).json
    assert budget["day"]["used"]["tokens"] == used["total_tokens"]
    assert budget["day"]["reserved"] == {"tokens": 0, "cost_nano_usd": 0}


async def test_refusal_says_what_is_left_and_until_when(thrifty: Service) -> None:
    caller = thrifty.client()
    name = caller.headers["X-User-Id"]
    admin = caller.saying(X_User_Roles="admin")
    answer = await admin.request("PUT", f"/v1/admin/limits/{name}", json={"tokens_per_month": 50})
    assert answer.status == 200, answer
    assert (answer.json["is_own"], answer.json["limits"]["tokens_per_month"]) == (True, 50)
    refused = await _post(caller, 1)
    expect_problem(refused, 429, "quota_exceeded", instance="/v1/messages")
    quota = refused.json["quota"]
    assert (quota["unit"], quota["period"], quota["limit"], quota["remaining"]) == ("tokens", "month", 50, 50)
    assert quota["wanted"] > 100
    assert quota["resets_at"].endswith("-01T00:00:00.000Z")
    assert 0 < int(refused.headers["Retry-After"]) <= 31 * 86_400
    assert (await caller.page("conv-1"))["data"] == [], "nothing was stored"
    await caller.store("A message that asks for no reply costs nothing.")
    assert (await admin.delete(f"/v1/admin/limits/{name}")).status == 204
    with thrifty.mongodb() as database:
        told = [row["action"] for row in database["audit"].find({"subject": name}, sort=[("_id", 1)])]
    assert told == ["limits.set", "limits.cleared"]
    assert (await _post(caller, 1)).status == 202


async def test_caller_sees_what_is_left_of_their_own_budget(thrifty: Service) -> None:
    caller, stranger = thrifty.client(), thrifty.client()
    asked = await _post(caller, 1)
    assert asked.status == 202
    await caller.ended(asked.json["reply"]["id"])
    answer = await caller.get("/v1/limits")
    assert answer.status == 200
    own = answer.json
    assert (own["object"], own["messages_per_minute"]) == ("limits", 100)
    day, month = own["budget"]["day"], own["budget"]["month"]
    assert own["budget"]["user_id"] == caller.headers["X-User-Id"]
    assert (own["budget"]["is_own"], own["budget"]["limits"]["tokens_per_day"]) == (False, _BUDGET)
    assert 0 < day["used"]["tokens"] == _BUDGET - day["remaining"]["tokens"]
    assert (day["remaining"]["cost_nano_usd"], month["remaining"]["tokens"]) == (None, None)
    assert day["resets_at"].endswith("T00:00:00.000Z")
    assert (await stranger.get("/v1/limits")).json["budget"]["day"]["remaining"]["tokens"] == _BUDGET
    admin = stranger.saying(X_User_Roles="admin")
    seen = await admin.get(f"/v1/admin/limits/{caller.headers['X-User-Id']}")
    assert seen.json == own["budget"], "admins see the same of them"


async def test_what_is_set_aside_is_not_left(thrifty: Service) -> None:
    caller = thrifty.client()
    body = {"conversation_id": "conv-1", "content": "/script tokens=3000 rate=10", "reply": {"max_output_tokens": 100}}
    asked = (await caller.post("/v1/messages", body)).json["reply"]
    day = (await caller.get("/v1/limits")).json["budget"]["day"]
    assert day["reserved"]["tokens"] > 100
    assert day["remaining"]["tokens"] == _BUDGET - day["reserved"]["tokens"] - day["used"]["tokens"]
    assert (await caller.post(f"/v1/replies/{asked['id']}/cancel")).status == 202
    await caller.ended(asked["id"])


async def test_caller_sees_no_budget_when_none_are_kept(service: Service) -> None:
    answer = await service.client().get("/v1/limits")
    assert answer.status == 200
    assert answer.json == {"object": "limits", "messages_per_minute": answer.json["messages_per_minute"]}


async def test_budgets_are_looked_after_by_admins_alone(thrifty: Service) -> None:
    caller = thrifty.client()
    path = f"/v1/admin/limits/{caller.headers['X-User-Id']}"
    for method, body in (("GET", None), ("PUT", {"tokens_per_day": 10**9}), ("DELETE", None)):
        expect_problem(await caller.request(method, path, json=body), 403, "forbidden", instance=path)
    admin = caller.saying(X_User_Roles="admin")
    answer = await admin.request("PUT", path, json={"tokens_per_day": -1})
    expect_problem(answer, 422, "validation_failed", instance=path)
    expect_problem(await admin.get("/v1/admin/limits/two%20words"), 422, "validation_failed")


async def test_budget_of_a_service_that_keeps_none_cannot_be_set(service: Service) -> None:
    admin = service.client().saying(X_User_Roles="admin")
    answer = await admin.request("PUT", "/v1/admin/limits/ada", json={"tokens_per_day": 1})
    expect_problem(answer, 409, "budgets_off", instance="/v1/admin/limits/ada")
