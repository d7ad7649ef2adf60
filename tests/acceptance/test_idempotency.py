"""Repeating a request with the same key: one message, the first result, and nothing spent."""

import asyncio
import re
import secrets
from collections.abc import Mapping
from typing import Any

import pytest

from tests.acceptance.expectations import expect_faults, expect_problem
from tests.fixtures.client import Answer, Client
from tests.fixtures.service import Service

_HELLO = {"conversation_id": "conv-1", "content": "Hello!"}


@pytest.fixture
def caller(service: Service) -> Client:
    return service.client()


async def _post(caller: Client, key: str, body: Mapping[str, object] = _HELLO, *, path: str = "/v1/messages") -> Answer:
    return await caller.post(path, body, headers={"Idempotency-Key": key})


async def _remaining(caller: Client) -> int:
    """What is left of the caller's hundred messages, this look included."""
    answer = await caller.post("/v1/messages", {"conversation_id": "conv-look", "content": "x"})
    found = re.search(r"r=(\d+)", answer.headers["RateLimit"])
    assert found is not None
    return int(found[1])


async def _count(caller: Client, conversation_id: str = "conv-1") -> int:
    return len((await caller.page(conversation_id))["data"])


async def test_first_result_is_repeated_when_the_key_comes_again(service: Service, caller: Client) -> None:
    first = await _post(caller, "key-1")
    assert first.status == 201
    assert "Idempotent-Replayed" not in first.headers
    for process in service.apis:
        again = await _post(caller.at(process.url), "key-1")
        assert (again.status, again.body) == (201, first.body)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.headers["Location"] == first.headers["Location"]
        assert "RateLimit" not in again.headers
    assert await _count(caller) == 1
    assert await _remaining(caller) == 98


async def test_first_result_is_repeated_when_the_reply_has_ended_meanwhile(caller: Client) -> None:
    body = {**_HELLO, "content": "/script say=hello", "reply": {}, "metadata": {"b": "2", "a": "1"}}
    first = await _post(caller, "key-1", body)
    assert first.status == 202
    await caller.ended(first.json["reply"]["id"])
    await caller.delete(first.headers["Location"])
    again = await _post(caller, "key-1", {**body, "metadata": {"a": "1", "b": "2"}, "role": "user"})
    assert (again.status, again.body) == (202, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    variants = await caller.page(include="deleted")
    assert len(variants["data"]) == 2


async def test_place_in_the_line_is_repeated_when_the_line_has_moved_on(caller: Client) -> None:
    ahead = await caller.ask("/script first=600 say=never")
    body = {**_HELLO, "content": "/script say=second", "reply": {}}
    first = await _post(caller, "key-1", body)
    assert first.json["reply"]["position"] == 1
    await caller.post(f"/v1/replies/{ahead['id']}/cancel")
    await caller.ended(first.json["reply"]["id"])
    assert (await _post(caller, "key-1", body)).body == first.body


@pytest.mark.parametrize(
    "other",
    [
        {**_HELLO, "content": "Hello?"},
        {**_HELLO, "conversation_id": "conv-2"},
        {**_HELLO, "metadata": {"k": "v"}},
        {**_HELLO, "reply": {}},
        {**_HELLO, "role": "system"},
    ],
)
async def test_key_is_refused_when_it_comes_with_another_body(caller: Client, other: dict[str, object]) -> None:
    await _post(caller, "key-1")
    expect_problem(await _post(caller, "key-1", other), 422, "idempotency_key_reused", instance="/v1/messages")
    assert await _count(caller) == 1
    assert await _remaining(caller) == 98


async def test_key_is_refused_when_it_comes_with_another_operation(caller: Client) -> None:
    message = (await _post(caller, "key-1")).json["message"]
    path = f"/v1/messages/{message['id']}/replies"
    expect_problem(await _post(caller, "key-1", {}, path=path), 422, "idempotency_key_reused", instance=path)
    assert (await caller.get(path)).json["data"] == []


async def test_variant_is_asked_for_once_when_its_key_comes_again(caller: Client) -> None:
    message = await caller.store("/script say=hello")
    path = f"/v1/messages/{message['id']}/replies"
    first = await _post(caller, "key-1", {"temperature": 1}, path=path)
    assert first.status == 202
    again = await _post(caller, "key-1", {"temperature": 1}, path=path)
    assert (again.status, again.body) == (202, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    await caller.ended(first.json["reply"]["id"])
    assert len((await caller.get(path)).json["data"]) == 1


async def test_one_message_is_stored_when_fifty_come_at_once_over_two_processes(service: Service) -> None:
    callers = [service.client("user-who-hammers", api=number) for number in (0, 1)]
    body = {**_HELLO, "content": "/script say=once", "reply": {}}
    answers = await asyncio.gather(*(_post(callers[number % 2], "key-1", body) for number in range(50)))
    assert {answer.status for answer in answers} == {202}
    assert len({answer.body for answer in answers}) == 1
    first_ones = [answer for answer in answers if "Idempotent-Replayed" not in answer.headers]
    assert len(first_ones) == 1
    reply = answers[0].json["reply"]
    await callers[0].ended(reply["id"])
    page = await callers[0].page(order="asc")
    assert [(message["seq"], message["role"]) for message in page["data"]] == [(1, "user"), (2, "assistant")]
    # A repetition costs nothing, however early it comes.
    assert await _remaining(callers[0]) == 98


async def test_one_of_two_bodies_wins_when_they_come_at_once_with_one_key(service: Service) -> None:
    callers = [service.client("user-in-two-minds", api=number) for number in (0, 1)]
    bodies = [{**_HELLO, "content": "this"}, {**_HELLO, "content": "that"}]
    answers = await asyncio.gather(
        *(_post(callers[number % 2], "key-1", bodies[number // 2 % 2]) for number in range(20))
    )
    stored = (await callers[0].page())["data"]
    assert len(stored) == 1
    for number, answer in enumerate(answers):
        if bodies[number // 2 % 2]["content"] == stored[0]["content"]:
            assert (answer.status, answer.json["message"]) == (201, stored[0])
        else:
            expect_problem(answer, 422, "idempotency_key_reused")


async def test_key_is_each_users_own_when_two_choose_the_same(service: Service, caller: Client) -> None:
    other = service.client()
    mine, theirs = await _post(caller, "key-1"), await _post(other, "key-1")
    assert (mine.status, theirs.status) == (201, 201)
    assert mine.json["message"]["id"] != theirs.json["message"]["id"]
    assert "Idempotent-Replayed" not in theirs.headers


async def test_key_means_the_same_when_it_is_quoted(caller: Client) -> None:
    first = await _post(caller, '"key-1"')
    again = await _post(caller, "key-1")
    assert (first.status, again.status, again.body) == (201, 201, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_key_is_taken_when_it_is_as_long_as_can_be(caller: Client) -> None:
    longest = "k" * 255
    for key in (longest, f'"{longest}"', longest):
        assert (await _post(caller, key)).status == 201
    assert await _count(caller) == 1


@pytest.mark.parametrize("key", ["k" * 256, '"' + "k" * 256 + '"', "caf\u00e9", "", "a\tb"])
async def test_key_is_refused_when_it_is_unusable(caller: Client, key: str) -> None:
    expect_faults(await _post(caller, key), "")
    assert await _count(caller) == 0


async def test_key_is_refused_when_it_is_sent_twice(caller: Client) -> None:
    twice = [("Idempotency-Key", "key-1"), ("Idempotency-Key", "key-2")]
    expect_faults(await caller.post("/v1/messages", _HELLO, headers=twice), "")
    assert await _count(caller) == 0


async def test_first_result_is_repeated_when_the_allowance_is_used_up(caller: Client) -> None:
    first = await _post(caller, "key-1")
    answers: list[Answer] = await asyncio.gather(
        *(caller.post("/v1/messages", {"conversation_id": f"c-{number}", "content": "x"}) for number in range(99))
    )
    assert {answer.status for answer in answers} == {201}
    expect_problem(await _post(caller, "key-2"), 429, "rate_limited")
    again = await _post(caller, "key-1")
    assert (again.status, again.body) == (201, first.body)


async def test_key_is_free_again_when_its_request_was_refused(caller: Client) -> None:
    refused: dict[str, Any] = {**_HELLO, "parent_id": "msg_" + "0" * 26}
    expect_faults(await _post(caller, "key-1", refused), "/parent_id")
    expect_faults(await _post(caller, "key-1", {**_HELLO, "content": " "}), "/content")
    accepted = await _post(caller, "key-1")
    assert accepted.status == 201
    assert "Idempotent-Replayed" not in accepted.headers


async def test_keys_of_two_users_stay_apart_when_joined_they_read_alike(service: Service) -> None:
    tail = secrets.token_hex(4)
    one, other = service.client(f"user-{tail}"), service.client(f"user-{tail}:a")
    assert (await _post(one, ":a b")).status == 201
    assert "Idempotent-Replayed" not in (await _post(other, "b")).headers
