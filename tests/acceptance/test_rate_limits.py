"""How many messages a user may post in a minute: exactly a hundred, on all processes together."""

import asyncio
import re
from collections import Counter

import pytest

from tests.acceptance.expectations import expect_problem
from tests.fixtures.client import Answer, Client
from tests.fixtures.service import Service

_LIMIT = 100


async def _post(caller: Client, *, conversation_id: str = "conv-1") -> Answer:
    return await caller.post("/v1/messages", {"conversation_id": conversation_id, "content": "Hello!"})


def _left(answer: Answer) -> tuple[int, int]:
    """What is left, and the seconds until more is."""
    assert answer.headers["RateLimit-Policy"] == f'"messages";q={_LIMIT};w=60'
    found = re.fullmatch(r'"messages";r=(\d+);t=(\d+)', answer.headers["RateLimit"])
    assert found is not None
    return int(found[1]), int(found[2])


async def test_hundred_messages_are_taken_when_posted_in_a_minute(service: Service) -> None:
    caller = service.client()
    answers = [await _post(caller, conversation_id=f"conv-{number % 3}") for number in range(_LIMIT)]
    assert {answer.status for answer in answers} == {201}
    assert [_left(answer)[0] for answer in answers] == list(range(_LIMIT - 1, -1, -1))
    assert all(0 < _left(answer)[1] <= 60 for answer in answers)
    refused = await _post(caller)
    problem = expect_problem(refused, 429, "rate_limited", instance="/v1/messages")
    assert problem["retryable"] is True
    remaining, reset_seconds = _left(refused)
    assert remaining == 0
    assert 0 < reset_seconds <= 60
    assert refused.headers["Retry-After"] == str(reset_seconds)
    # Reading is free, and others are not affected.
    assert (await caller.page("conv-0"))["data"][0]["seq"] == 34
    assert (await _post(service.client())).status == 201


async def test_hundred_are_taken_in_all_when_more_come_at_once_over_two_processes(service: Service) -> None:
    callers = [service.client("user-in-a-hurry", api=number) for number in (0, 1)]
    answers = await asyncio.gather(
        *(_post(callers[number % 2], conversation_id=f"c-{number}") for number in range(130))
    )
    assert Counter(answer.status for answer in answers) == {201: _LIMIT, 429: 30}
    with service.mongodb() as database:
        assert database["messages"].count_documents({"user_id": "user-in-a-hurry"}) == _LIMIT


async def test_variants_count_when_they_are_asked_for(service: Service) -> None:
    caller = service.client()
    first = await caller.ask("/script say=hello")
    answer = await caller.post(f"/v1/messages/{first['message_id']}/replies", {})
    assert (answer.status, _left(answer)[0]) == (202, _LIMIT - 2)
    for reply_id in (first["id"], answer.json["reply"]["id"]):
        await caller.ended(reply_id)


@pytest.mark.parametrize(
    "asked",
    [
        {"conversation_id": "conv-1", "content": "x", "colour": "red"},
        {"conversation_id": "conv-1"},
        {"conversation_id": "conv-1", "content": "x", "role": "assistant"},
    ],
)
async def test_nothing_is_spent_when_the_request_cannot_be_understood(
    service: Service, asked: dict[str, object]
) -> None:
    caller = service.client()
    assert (await caller.post("/v1/messages", asked)).status in (403, 422)
    assert _left(await _post(caller))[0] == _LIMIT - 1
