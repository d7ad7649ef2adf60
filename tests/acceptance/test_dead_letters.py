"""Replies that failed, as an admin sees them: listed, retried once, dropped; over HTTP and on the command line."""

import asyncio
import json
import sys
from typing import Any

import pytest

from tests.fixtures.client import Client
from tests.fixtures.service import Service

_FAILS = "/script fail=auth\nA secret."
_URL = "/v1/admin/dead-letters"


@pytest.fixture
def caller(service: Service) -> Client:
    return service.client()


@pytest.fixture
def admin(service: Service) -> Client:
    return service.client(X_User_Roles="service,admin")


async def _failed(caller: Client, **reply: Any) -> str:
    body = {"conversation_id": "conv-1", "content": _FAILS, "reply": reply}
    created = await caller.post("/v1/messages", body)
    assert created.status == 202, created
    ended = await caller.ended(created.json["reply"]["id"])
    assert ended["status"] == "failed"
    return str(ended["id"])


async def test_failed_reply_is_listed_without_its_text_when_an_admin_asks(caller: Client, admin: Client) -> None:
    ids = [await _failed(caller) for _ in range(3)]
    first = await admin.get(_URL, params={"user_id": caller.user_id, "limit": "2"})
    assert first.status == 200
    assert [one["id"] for one in first.json["data"]] == [ids[2], ids[1]]
    assert first.json["has_more"]
    rest = await admin.get(_URL, params={"user_id": caller.user_id, "cursor": first.json["next_cursor"]})
    assert [one["id"] for one in rest.json["data"]] == [ids[0]]
    assert not rest.json["has_more"]
    letter = (await admin.get(f"{_URL}/{ids[0]}")).json
    assert letter == rest.json["data"][0]
    stored = await caller.reply(ids[0])
    assert letter["error"]["code"] == stored["error"]["code"]
    assert (letter["state"], letter["attempts"], letter["user_id"]) == ("open", 1, caller.user_id)
    assert "secret" not in str(letter)
    by_code = await admin.get(_URL, params={"user_id": caller.user_id, "code": letter["error"]["code"]})
    assert len(by_code.json["data"]) == 3
    assert (await admin.get(_URL, params={"user_id": caller.user_id, "code": "none"})).json["data"] == []


async def test_one_variant_is_asked_for_when_retried_often(service: Service, caller: Client, admin: Client) -> None:
    failed = await _failed(caller, temperature=0.5, stop=["x"])
    retries = await asyncio.gather(*(admin.post(f"{_URL}/{failed}/retry") for _ in range(6)))
    retries.append(await admin.post(f"{_URL}/{failed}/retry"))
    assert {answer.status for answer in retries} == {202}
    (retry_id,) = {answer.json["id"] for answer in retries}
    await caller.ended(retry_id)
    with service.mongodb() as database:
        rows = list(database["replies"].find({"user_id": caller.user_id}, sort=[("turn", 1)]))
        audit = list(database["audit"].find({"action": "dead_letter.retried", "subject": failed}))
    assert [row["_id"] for row in rows] == [failed, retry_id]
    assert rows[1]["asked"] == rows[0]["asked"] == {"temperature": 0.5, "stop": ["x"]}
    assert (rows[1]["message_id"], rows[1]["kind"]) == (rows[0]["message_id"], "variant")
    assert [row["user_id"] for row in audit] == [admin.user_id]
    letter = (await admin.get(f"{_URL}/{failed}")).json
    assert (letter["state"], letter["retried_as"]) == ("retried", retry_id)
    # It failed again: that is a dead letter of its own.
    assert (await admin.get(f"{_URL}/{retry_id}")).json["state"] == "open"


async def test_nothing_more_is_done_when_it_was_dropped(service: Service, caller: Client, admin: Client) -> None:
    failed = await _failed(caller)
    for _ in range(2):
        assert (await admin.delete(f"{_URL}/{failed}")).status == 204
    assert (await admin.get(_URL, params={"user_id": caller.user_id})).json["data"] == []
    dropped = await admin.get(_URL, params={"user_id": caller.user_id, "state": "dropped"})
    assert [one["id"] for one in dropped.json["data"]] == [failed]
    with service.mongodb() as database:
        audit = list(database["audit"].find({"action": "dead_letter.dropped", "subject": failed}))
    assert [row["user_id"] for row in audit] == [admin.user_id]


async def test_caller_is_refused_when_it_is_no_admin(caller: Client) -> None:
    failed = await _failed(caller)
    answers = [
        await caller.get(_URL),
        await caller.get(f"{_URL}/{failed}"),
        await caller.post(f"{_URL}/{failed}/retry"),
        await caller.delete(f"{_URL}/{failed}"),
    ]
    assert [(answer.status, answer.json["code"]) for answer in answers] == [(403, "forbidden")] * 4


async def test_retry_is_refused_when_the_message_was_hidden(caller: Client, admin: Client) -> None:
    failed = await _failed(caller)
    message_id = (await caller.reply(failed))["message_id"]
    assert (await caller.delete(f"/v1/messages/{message_id}")).status == 204
    refused = await admin.post(f"{_URL}/{failed}/retry")
    assert (refused.status, refused.json["code"]) == (404, "message_not_found")
    assert (await admin.get(f"{_URL}/{failed}")).json["state"] == "open"


async def test_unknown_is_said_when_no_such_reply_failed(caller: Client, admin: Client) -> None:
    done = (await caller.ended((await caller.ask("/script rate=max say=hello"))["id"]))["id"]
    for id_ in ("none", done):
        answers = [
            await admin.get(f"{_URL}/{id_}"),
            await admin.post(f"{_URL}/{id_}/retry"),
            await admin.delete(f"{_URL}/{id_}"),
        ]
        assert [(answer.status, answer.json["code"]) for answer in answers] == [(404, "dead_letter_not_found")] * 3
    assert (await admin.get(_URL, params={"cursor": "x"})).status == 400
    assert (await admin.get(_URL, params={"state": "x"})).status == 422


async def test_command_line_does_the_same_when_used(service: Service, caller: Client) -> None:
    async def run(*arguments: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "message_service", "dead-letters", *arguments,
            env=service.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, errors = await process.communicate()
        return process.returncode, (output or errors).decode()

    first, second = await _failed(caller), await _failed(caller)
    _, listed = await run("list", "--user", caller.user_id, "--json")
    assert [letter["id"] for letter in json.loads(listed)] == [second, first]
    code, retried = await run("retry", first, "--json")
    assert code == 0
    await caller.ended(json.loads(retried)["retried_as"])
    assert await run("drop", second) == (0, "dropped\n")
    code, shown = await run("show", first)
    assert code == 0
    assert "state: retried" in shown
    assert f"GET /v1/messages/{(await caller.reply(first))['message_id']}" in shown
    assert "secret" not in shown
    code, refusal = await run("show", "msg_none")
    assert (code, refusal) == (1, "message-service: No reply of that id has failed.\n")
