"""Replies as their callers see them: how they stand, how they end, and several to one message."""

import asyncio
from typing import Any

import pytest

from message_service.ids import new_reply_id
from tests.acceptance.expectations import TIME, expect_faults, expect_problem
from tests.fixtures.client import Client, names_of, text_of
from tests.fixtures.service import Service

_RUNS = "/script first=600 say=never"


@pytest.fixture
def caller(service: Service) -> Client:
    return service.client()


async def _cancel(caller: Client, reply: dict[str, Any]) -> dict[str, Any]:
    await caller.post(f"/v1/replies/{reply['id']}/cancel")
    return await caller.ended(reply["id"])


async def test_reply_becomes_a_message_when_it_completes(service: Service, caller: Client) -> None:
    asked = await caller.ask(
        '/script say="Hi there, friend." rate=max', character_id="char-7", reply={"instructions": "You are Ada."}
    )
    ended = await caller.ended(asked["id"])
    message = ended["message"]
    assert ended == {
        "id": asked["id"],
        "object": "reply",
        "status": "completed",
        "message_id": asked["message_id"],
        "conversation_id": "conv-1",
        "stream_url": asked["stream_url"],
        "attempts": 1,
        "created_at": asked["created_at"],
        "started_at": ended["started_at"],
        "finished_at": ended["finished_at"],
        "provider": "scripted",
        "model": "scripted",
        "finish_reason": "stop",
        "usage": ended["usage"],
        "attempt_log": ended["attempt_log"],
        "message": message,
    }
    (attempt,) = ended["attempt_log"]
    assert (attempt["provider"], attempt["model"], attempt["cost_nano_usd"]) == ("scripted", "scripted", 0)
    assert asked["created_at"] <= ended["finished_at"]
    assert TIME.fullmatch(ended["started_at"])
    assert ended["usage"]["output_tokens"] == 3
    assert ended["usage"]["input_tokens"] > 0
    assert ended["usage"]["is_estimated"] is False
    assert message == {
        "id": asked["id"],
        "object": "message",
        "conversation_id": "conv-1",
        "seq": 2,
        "parent_id": asked["message_id"],
        "user_id": caller.user_id,
        "character_id": "char-7",
        "role": "assistant",
        "content": "Hi there, friend.",
        "metadata": {},
        "reply_to": asked["message_id"],
        "provider": "scripted",
        "model": "scripted",
        "finish_reason": "stop",
        "usage": ended["usage"],
        "created_at": message["created_at"],
    }
    assert (await caller.get(f"/v1/messages/{asked['id']}")).json == message
    assert (await caller.at(service.apis[1].url).reply(asked["id"])) == ended
    assert (await caller.page())["data"][0] == message


async def test_text_so_far_is_told_when_the_reply_runs(service: Service, caller: Client) -> None:
    asked = await caller.ask('/script say="one two three four" fail=stall@3')
    running = await caller.reply_when(asked["id"], "running")
    async with asyncio.timeout(10):
        while running.get("partial_text") != "one two three":
            running = await caller.at(service.apis[1].url).reply(asked["id"])
    assert running["status"] == "running"
    assert running["attempts"] == 1
    assert "message" not in running
    assert "finished_at" not in running
    ended = await _cancel(caller, asked)
    assert "partial_text" not in ended
    assert ended["message"]["content"] == "one two three"


@pytest.mark.parametrize(
    ("script", "options", "status", "reason", "text"),
    [
        ("tokens=5 say=a", {}, "completed", "stop", "a a a a a"),
        ("tokens=5 say=a finish=length", {}, "incomplete", "length", "a a a a a"),
        ("tokens=5 say=a finish=content_filter", {}, "incomplete", "content_filter", "a a a a a"),
        ("tokens=5 say=a", {"max_output_tokens": 2}, "incomplete", "length", "a a"),
        ('say="one two three"', {"stop": ["three"]}, "completed", "stop", "one two "),
        ('say="one two three" fail=cut@2', {}, "incomplete", "error", "one two"),
    ],
)
async def test_end_says_why_when_text_was_shown(
    caller: Client, script: str, options: dict[str, object], status: str, reason: str, text: str
) -> None:
    asked = await caller.ask(f"/script rate=max {script}", reply=options)
    events = await caller.watch_whole(asked["id"])
    ended = await caller.reply(asked["id"])
    assert (ended["status"], ended["finish_reason"], ended["message"]["content"]) == (status, reason, text)
    assert events[-1].name == f"reply.{status}"
    assert events[-1].content == ended
    assert text_of(events) == text


@pytest.mark.parametrize(
    ("kind", "code"),
    [("auth", "provider_auth_failed"), ("quota", "provider_quota_exhausted"), ("invalid", "provider_request_invalid")],
)
async def test_failure_is_visible_when_no_text_came(caller: Client, kind: str, code: str) -> None:
    asked = await caller.ask(f"/script fail={kind}")
    events = await caller.watch_whole(asked["id"])
    ended = await caller.reply(asked["id"])
    assert (ended["status"], ended["attempts"], ended["error"]["code"]) == ("failed", 1, code)
    assert "message" not in ended
    problem = events[-1].content
    assert events[-1].name == "reply.failed"
    assert set(problem) == {"type", "title", "status", "detail", "instance", "code", "request_id", "retryable"}
    assert (problem["code"], problem["detail"]) == (code, ended["error"]["detail"])
    assert problem["instance"] == asked["stream_url"]
    assert len((await caller.page())["data"]) == 1
    # What failed stands in nobody's way, and the next message does not follow a message that never came.
    message = await caller.store("What now?")
    assert (message["seq"], message["parent_id"]) == (2, asked["message_id"])


async def test_reply_is_tried_again_when_the_failure_may_pass(caller: Client) -> None:
    asked = await caller.ask('/script say="worth the wait" fail=cut@0 attempts=2')
    ended = await caller.ended(asked["id"])
    assert (ended["status"], ended["attempts"], ended["message"]["content"]) == ("completed", 3, "worth the wait")


async def test_replies_come_in_order_when_several_are_asked_for(caller: Client) -> None:
    asked = [await caller.ask(f"/script rate=max say=answer-{number}") for number in range(4)]
    for reply in asked:
        await caller.ended(reply["id"])
    page = await caller.page(order="asc")
    assert [message["seq"] for message in page["data"]] == list(range(1, 9))
    answers = [message for message in page["data"] if message["role"] == "assistant"]
    assert [message["reply_to"] for message in answers] == [reply["message_id"] for reply in asked]
    assert [message["content"] for message in answers] == [f"answer-{number}" for number in range(4)]


async def test_variants_stand_side_by_side_when_asked_for_again(service: Service, caller: Client) -> None:
    first = await caller.ask("/script rate=max say=hello")
    await caller.ended(first["id"])
    path = f"/v1/messages/{first['message_id']}/replies"
    answer = await caller.post(path, {"temperature": 0.5})
    assert answer.status == 202
    variant = answer.json["reply"]
    assert answer.headers["Location"] == f"/v1/messages/{first['message_id']}"
    assert answer.json["message"] == (await caller.get(f"/v1/messages/{first['message_id']}")).json
    assert variant["id"] != first["id"]
    assert (variant["message_id"], variant["status"], variant["position"]) == (first["message_id"], "queued", 0)
    await caller.ended(variant["id"])
    listed = await caller.at(service.apis[1].url).get(path)
    assert listed.status == 200
    assert set(listed.json) == {"object", "data"}
    assert listed.json["object"] == "list"
    assert listed.json["data"] == [await caller.reply(first["id"]), await caller.reply(variant["id"])]
    messages = [reply["message"] for reply in listed.json["data"]]
    assert [message["parent_id"] for message in messages] == [first["message_id"]] * 2
    assert [message["seq"] for message in messages] == [2, 3]
    # The newest variant is the path that goes on.
    assert (await caller.store("And then?"))["parent_id"] == variant["id"]


async def test_variants_are_none_when_no_reply_was_asked_for(caller: Client) -> None:
    message = await caller.store("Hello!")
    assert (await caller.get(f"/v1/messages/{message['id']}/replies")).json == {"object": "list", "data": []}


async def test_variant_is_refused_when_the_message_is_not_a_users(service: Service) -> None:
    caller = service.client(X_User_Roles="service")
    for role in ("system", "assistant"):
        message = await caller.store("x", role=role)
        expect_faults(await caller.post(f"/v1/messages/{message['id']}/replies", {}), "")
        assert (await caller.get(f"/v1/messages/{message['id']}/replies")).json["data"] == []


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"colour": 1}, "/colour"),
        ({"provider": "nobody"}, "/provider"),
        ({"max_output_tokens": 16_001}, "/max_output_tokens"),
    ],
)
async def test_options_of_a_variant_are_checked_when_asked_for(
    caller: Client, options: dict[str, object], pointer: str
) -> None:
    message = await caller.store("Hello!")
    expect_faults(await caller.post(f"/v1/messages/{message['id']}/replies", options), pointer)


async def test_queued_reply_is_over_at_once_when_cancelled(service: Service, caller: Client) -> None:
    running = await caller.ask(_RUNS)
    queued = await caller.ask("/script say=second")
    last = await caller.ask("/script rate=max say=third")
    async with caller.watch(queued["id"]) as watch:
        first = await watch.next()
        assert first is not None
        assert (first.name, first.content) == ("reply.queued", {"position": 1})
        answer = await caller.at(service.apis[1].url).post(f"/v1/replies/{queued['id']}/cancel")
        assert answer.status == 202
        assert (answer.json["status"], answer.json["finish_reason"]) == ("cancelled", "cancelled")
        rest = await watch.rest()
    assert names_of(rest) == ["reply.cancelled"]
    found = await caller.reply(queued["id"])
    assert rest[0].content == found
    assert "message" not in found
    assert found["attempts"] == 0
    assert (await caller.reply(last["id"]))["position"] == 1
    await _cancel(caller, running)
    assert (await caller.ended(last["id"]))["message"]["content"] == "third"


async def test_cancelling_again_changes_nothing_when_it_was_cancelled(caller: Client) -> None:
    asked = await caller.ask(_RUNS)
    await caller.reply_when(asked["id"], "running")
    path = f"/v1/replies/{asked['id']}/cancel"
    answers = await asyncio.gather(*(caller.post(path) for _ in range(5)))
    assert {answer.status for answer in answers} == {202}
    ended = await caller.ended(asked["id"])
    assert (ended["status"], ended["finish_reason"]) == ("cancelled", "cancelled")
    assert "message" not in ended
    again = await caller.post(path)
    assert again.status == 202
    assert again.json["status"] == "cancelled"
    assert again.json["finished_at"] == ended["finished_at"]
    assert await caller.reply(asked["id"]) == ended


@pytest.mark.parametrize("script", ["rate=max say=done", "rate=max say=done finish=length", "fail=auth"])
async def test_cancelling_is_refused_when_the_reply_has_ended_otherwise(caller: Client, script: str) -> None:
    asked = await caller.ask(f"/script {script}")
    ended = await caller.ended(asked["id"])
    path = f"/v1/replies/{asked['id']}/cancel"
    problem = expect_problem(await caller.post(path), 409, "reply_not_cancellable", instance=path)
    assert ended["status"] in problem["detail"]
    assert await caller.reply(asked["id"]) == ended


@pytest.mark.parametrize("no_id", ["msg_short", "7", "rpl_00000000000000000000000000", "made"])
async def test_reply_is_not_found_when_there_is_none_of_that_id(caller: Client, no_id: str) -> None:
    path = f"/v1/replies/{new_reply_id() if no_id == 'made' else no_id}"
    expect_problem(await caller.get(path), 404, "reply_not_found", instance=path)
    expect_problem(await caller.get(f"{path}/stream"), 404, "reply_not_found", instance=f"{path}/stream")
    expect_problem(await caller.post(f"{path}/cancel"), 404, "reply_not_found", instance=f"{path}/cancel")


async def test_reply_is_not_found_when_the_id_is_a_user_messages(caller: Client) -> None:
    message = await caller.store("Hello!")
    expect_problem(await caller.get(f"/v1/replies/{message['id']}"), 404, "reply_not_found")


async def test_reply_fails_when_its_instructions_leave_no_room(service: Service) -> None:
    caller = service.client()
    asked = await caller.ask("Hello!", reply={"instructions": "\u6f22" * 20_000, "max_output_tokens": 16_000})
    ended = await caller.ended(asked["id"])
    assert (ended["status"], ended["error"]["code"]) == ("failed", "context_too_long")
