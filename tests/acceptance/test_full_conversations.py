"""A conversation holds 10,000 messages, places promised to replies included; the next one is refused."""

from typing import Any

import pytest

from tests.acceptance.expectations import expect_problem
from tests.fixtures.client import Answer, Client
from tests.fixtures.service import Service

_MOST = 10_000


@pytest.fixture
def caller(service: Service) -> Client:
    return service.client()


async def _holding(service: Service, caller: Client, messages: int) -> dict[str, Any]:
    """A conversation that counts so many messages; its only real one."""
    message = await caller.store("/script rate=max say=hello")
    with service.mongodb() as database:
        changed = database["conversations"].update_one(
            {"user_id": caller.user_id, "conversation_id": "conv-1"}, {"$set": {"last_seq": messages}}
        )
    assert changed.modified_count == 1
    return message


async def _post(caller: Client, **fields: object) -> Answer:
    return await caller.post("/v1/messages", {"conversation_id": "conv-1", "content": "/script say=hi", **fields})


async def test_message_10_001_is_refused_when_the_conversation_is_full(service: Service, caller: Client) -> None:
    first = await _holding(service, caller, _MOST - 1)
    last = await _post(caller)
    assert (last.status, last.json["message"]["seq"]) == (201, _MOST)
    others: list[dict[str, object]] = [{}, {"reply": {}}, {"role": "system"}]
    for more in others:
        problem = expect_problem(await _post(caller, **more), 409, "conversation_full", instance="/v1/messages")
        assert "10,000" in problem["detail"]
    path = f"/v1/messages/{first['id']}/replies"
    expect_problem(await caller.post(path, {}), 409, "conversation_full", instance=path)
    assert [message["seq"] for message in (await caller.page())["data"]] == [_MOST, 1]
    # Deleting hides a message; it makes no room.
    assert (await caller.delete(f"/v1/messages/{first['id']}")).status == 204
    expect_problem(await _post(caller), 409, "conversation_full")
    assert (await _post(caller, conversation_id="conv-2")).status == 201


async def test_message_with_a_reply_is_refused_when_only_one_place_is_left(service: Service, caller: Client) -> None:
    await _holding(service, caller, _MOST - 1)
    expect_problem(await _post(caller, reply={}), 409, "conversation_full")
    assert [message["seq"] for message in (await caller.page())["data"]] == [1]
    assert (await caller.page())["active_replies"] == []
    assert (await _post(caller)).status == 201


async def test_variant_takes_the_last_place_when_one_is_left(service: Service, caller: Client) -> None:
    first = await _holding(service, caller, _MOST - 1)
    answer = await caller.post(f"/v1/messages/{first['id']}/replies", {})
    assert answer.status == 202
    ended = await caller.ended(answer.json["reply"]["id"])
    assert (ended["status"], ended["message"]["seq"]) == ("completed", _MOST)


async def test_place_is_kept_for_the_reply_when_others_post_meanwhile(service: Service, caller: Client) -> None:
    await _holding(service, caller, _MOST - 2)
    asked = await _post(caller, content='/script say="one two" fail=stall@1', reply={})
    assert (asked.status, asked.json["message"]["seq"]) == (202, _MOST - 1)
    reply_id = asked.json["reply"]["id"]
    expect_problem(await _post(caller), 409, "conversation_full")
    async with caller.watch(reply_id) as watch:
        await watch.until("reply.delta")
        await caller.post(f"/v1/replies/{reply_id}/cancel")
        await watch.rest()
    ended = await caller.ended(reply_id)
    assert (ended["message"]["seq"], ended["message"]["content"]) == (_MOST, "one")
    expect_problem(await _post(caller), 409, "conversation_full")


async def test_place_is_free_again_when_the_reply_ends_without_text(service: Service, caller: Client) -> None:
    await _holding(service, caller, _MOST - 2)
    asked = await _post(caller, content="/script fail=auth", reply={})
    assert (await caller.ended(asked.json["reply"]["id"]))["status"] == "failed"
    last = await _post(caller)
    assert (last.status, last.json["message"]["seq"]) == (201, _MOST)
    expect_problem(await _post(caller), 409, "conversation_full")
