"""Posting a message: what is taken, how it is kept and shown, and what is refused with which words."""

from typing import Any

import pytest

from message_service.ids import new_message_id
from tests.acceptance.expectations import OWN_ID, TIME, expect_faults, expect_problem
from tests.fixtures.client import Client
from tests.fixtures.service import Service

_STORED_FIELDS = {
    "id",
    "object",
    "conversation_id",
    "seq",
    "user_id",
    "role",
    "content",
    "metadata",
    "created_at",
}


@pytest.fixture
def caller(service: Service) -> Client:
    return service.client()


def _message(**fields: object) -> dict[str, Any]:
    return {"conversation_id": "conv-1", "content": "Hello!", **fields}


async def test_message_is_stored_when_no_reply_is_asked_for(caller: Client) -> None:
    answer = await caller.post("/v1/messages", _message())
    assert answer.status == 201
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    message = answer.json["message"]
    assert answer.json == {"message": message, "reply": None}
    assert set(message) == _STORED_FIELDS
    assert OWN_ID.fullmatch(message["id"])
    assert TIME.fullmatch(message["created_at"])
    assert answer.headers["Location"] == f"/v1/messages/{message['id']}"
    assert {name: message[name] for name in _STORED_FIELDS - {"id", "created_at"}} == {
        "object": "message",
        "conversation_id": "conv-1",
        "seq": 1,
        "user_id": caller.user_id,
        "role": "user",
        "content": "Hello!",
        "metadata": {},
    }
    assert (await caller.get(answer.headers["Location"])).json == message


async def test_reply_is_promised_when_one_is_asked_for(caller: Client) -> None:
    asked = _message(reply={}, character_id="char-7", metadata={"k": "v"}, content="/script first=600 say=never")
    answer = await caller.post("/v1/messages", asked)
    assert answer.status == 202
    message, reply = answer.json["message"], answer.json["reply"]
    assert set(answer.json) == {"message", "reply"}
    assert message["character_id"] == "char-7"
    assert message["metadata"] == {"k": "v"}
    assert answer.headers["Location"] == f"/v1/messages/{message['id']}"
    assert OWN_ID.fullmatch(reply["id"])
    assert reply == {
        "id": reply["id"],
        "object": "reply",
        "status": "queued",
        "message_id": message["id"],
        "conversation_id": "conv-1",
        "stream_url": f"/v1/replies/{reply['id']}/stream",
        "position": 0,
        "attempts": 0,
        "created_at": reply["created_at"],
    }
    assert TIME.fullmatch(reply["created_at"])
    second = await caller.ask("/script say=second", "conv-1")
    assert second["position"] == 1
    third = await caller.ask("/script say=third", "conv-1")
    assert third["position"] == 2
    for asked_reply in (third, second, reply):
        assert (await caller.post(f"/v1/replies/{asked_reply['id']}/cancel")).status == 202


async def test_seq_is_dense_and_parents_are_the_path_when_messages_follow_each_other(caller: Client) -> None:
    first, second, third = [await caller.store(text) for text in ("one", "two", "three")]
    assert [message["seq"] for message in (first, second, third)] == [1, 2, 3]
    assert "parent_id" not in first
    assert second["parent_id"] == first["id"]
    assert third["parent_id"] == second["id"]
    branch = await caller.store("two, otherwise", parent_id=first["id"])
    assert (branch["seq"], branch["parent_id"]) == (4, first["id"])
    assert (await caller.store("goes on from the branch"))["parent_id"] == branch["id"]


async def test_conversations_are_apart_when_two_users_name_them_alike(service: Service) -> None:
    one, other = service.client(), service.client()
    await one.store("mine", "conv-shared")
    assert (await other.store("mine too", "conv-shared"))["seq"] == 1
    assert [message["content"] for message in (await one.page("conv-shared"))["data"]] == ["mine"]


async def test_parent_is_refused_when_it_is_in_another_conversation(caller: Client) -> None:
    elsewhere = await caller.store("elsewhere", "conv-other")
    expect_faults(await caller.post("/v1/messages", _message(parent_id=elsewhere["id"])), "/parent_id")
    expect_faults(await caller.post("/v1/messages", _message(parent_id=new_message_id())), "/parent_id")
    expect_faults(await caller.post("/v1/messages", _message(parent_id="not-an-id")), "/parent_id")


async def test_role_is_kept_when_the_caller_may_write_in_it(service: Service, caller: Client) -> None:
    assert (await caller.store("Be kind.", role="system"))["role"] == "system"
    helper = caller.saying(X_User_Roles="admin, service")
    assert (await helper.store("I was imported.", role="assistant"))["role"] == "assistant"


@pytest.mark.parametrize("roles", [None, "", "admin", "Service", "servicer"])
async def test_assistant_role_is_forbidden_when_the_caller_is_no_service(service: Service, roles: str | None) -> None:
    caller = service.client() if roles is None else service.client(X_User_Roles=roles)
    expect_problem(await caller.post("/v1/messages", _message(role="assistant")), 403, "forbidden")
    assert (await caller.page())["data"] == []


@pytest.mark.parametrize("role", ["system", "assistant"])
async def test_reply_is_refused_when_the_message_is_not_a_users(service: Service, role: str) -> None:
    caller = service.client(X_User_Roles="service")
    expect_faults(await caller.post("/v1/messages", _message(role=role, reply={})), "/reply")
    assert (await caller.page())["data"] == []


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"colour": "red"}, ["/colour"]),
        ({"reply": {"colour": "red"}}, ["/reply/colour"]),
        ({"colour/~x": 1}, ["/colour~1~0x"]),
        ({"role": "tool"}, ["/role"]),
        ({"role": None}, ["/role"]),
        ({"content": 7}, ["/content"]),
        ({"content": None}, ["/content"]),
        ({"conversation_id": ""}, ["/conversation_id"]),
        ({"conversation_id": "with space"}, ["/conversation_id"]),
        ({"conversation_id": "x" * 129}, ["/conversation_id"]),
        ({"conversation_id": "caf\u00e9"}, ["/conversation_id"]),
        ({"conversation_id": "line\n"}, ["/conversation_id"]),
        ({"character_id": ""}, ["/character_id"]),
        ({"character_id": "x" * 129}, ["/character_id"]),
        ({"metadata": {"k": 1}}, ["/metadata/k"]),
        ({"metadata": None}, ["/metadata"]),
        ({"metadata": {"k": None}}, ["/metadata/k"]),
        ({"reply": {"provider": "nobody"}}, ["/reply/provider"]),
        ({"reply": {"temperature": 2.1}}, ["/reply/temperature"]),
        ({"reply": {"temperature": -0.1}}, ["/reply/temperature"]),
        ({"reply": {"max_output_tokens": 0}}, ["/reply/max_output_tokens"]),
        ({"reply": {"max_output_tokens": 16_001}}, ["/reply/max_output_tokens"]),
        ({"reply": {"stop": ["a", "b", "c", "d", "e"]}}, ["/reply/stop"]),
        ({"reply": {"stop": [""]}}, ["/reply/stop/0"]),
        ({"reply": {"strategy": "luck"}}, ["/reply/strategy"]),
        ({"reply": {"instructions": "x" * 20_001}}, ["/reply/instructions"]),
        ({"reply": True}, ["/reply"]),
        ({"content": None, "role": "tool", "metadata": 5}, ["/content", "/role", "/metadata"]),
    ],
)
async def test_each_field_is_named_when_it_is_not_acceptable(
    caller: Client, fields: dict[str, object], pointers: list[str]
) -> None:
    expect_faults(await caller.post("/v1/messages", _message(**fields)), *pointers)


async def test_each_field_is_named_when_it_is_missing(caller: Client) -> None:
    expect_faults(await caller.post("/v1/messages", {}), "/conversation_id", "/content")
    expect_faults(await caller.post("/v1/messages", {"content": "x"}), "/conversation_id")


async def test_bounds_are_inclusive_when_ids_and_options_reach_them(caller: Client) -> None:
    longest = "x" * 128
    message = await caller.store("x", longest, character_id=longest)
    assert (message["conversation_id"], message["character_id"]) == (longest, longest)
    await caller.ask(
        "/script say=ok",
        reply={
            "instructions": "x" * 20_000,
            "temperature": 2,
            "max_output_tokens": 16_000,
            "stop": ["a" * 64, "b", "c", "d"],
            "strategy": "priority",
            "provider": "scripted",
        },
    )
