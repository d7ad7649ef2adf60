"""One message: looking at it, hiding it, showing it again, and never editing it."""

import pytest

from message_service.ids import new_message_id
from tests.acceptance.expectations import TIME, expect_problem
from tests.fixtures.client import Client
from tests.fixtures.service import Service

_NO_IDS = ["msg_short", "7", "msg_" + "I" * 26, "msg_" + "0" * 27, "MSG_" + "0" * 26, "%00", "msg_%E2%82%AC"]


@pytest.fixture
def caller(service: Service) -> Client:
    return service.client()


async def test_etag_is_strong_and_lasts_when_a_message_is_read_again(service: Service, caller: Client) -> None:
    message = await caller.store("Hello!")
    answer = await caller.get(f"/v1/messages/{message['id']}")
    assert (answer.status, answer.json) == (200, message)
    assert answer.headers["Content-Type"] == "application/json"
    etag = answer.headers["ETag"]
    assert etag.startswith('"')
    assert etag.endswith('"')
    # To be kept by the caller alone, and asked about each time.
    assert answer.headers["Cache-Control"] == "private, no-cache"
    elsewhere = await caller.at(service.apis[1].url).get(f"/v1/messages/{message['id']}")
    assert (elsewhere.headers["ETag"], elsewhere.body) == (etag, answer.body)
    assert (await caller.get(f"/v1/messages/{(await caller.store('other'))['id']}")).headers["ETag"] != etag


async def test_nothing_is_sent_when_the_caller_has_it_already(caller: Client) -> None:
    path = f"/v1/messages/{(await caller.store('Hello!'))['id']}"
    etag = (await caller.get(path)).headers["ETag"]
    for known in (etag, f'"other", {etag}', f"W/{etag}", "*", f'{etag}, "other"'):
        answer = await caller.get(path, headers={"If-None-Match": known})
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", etag), known
        assert answer.headers["Cache-Control"] == "private, no-cache"
    for known in ('"other"', etag.strip('"'), ""):
        assert (await caller.get(path, headers={"If-None-Match": known})).status == 200, known


async def test_message_is_gone_when_it_was_deleted(service: Service, caller: Client) -> None:
    message = await caller.store("Hello!")
    path = f"/v1/messages/{message['id']}"
    etag = (await caller.get(path)).headers["ETag"]
    for _ in range(2):
        answer = await caller.delete(path)
        assert (answer.status, answer.body) == (204, b"")
        assert answer.headers["Cache-Control"] == "no-store"
    expect_problem(await caller.get(path), 404, "message_not_found", instance=path)
    expect_problem(await caller.get(path, headers={"If-None-Match": etag}), 404, "message_not_found")
    expect_problem(await caller.at(service.apis[1].url).get(path), 404, "message_not_found")
    expect_problem(await caller.get(f"{path}/replies"), 404, "message_not_found")
    expect_problem(await caller.post(f"{path}/replies", {}), 404, "message_not_found")
    assert (await caller.page())["data"] == []


async def test_message_is_as_it_was_when_it_is_restored(caller: Client) -> None:
    message = await caller.store("Hello!", metadata={"k": "v"})
    path = f"/v1/messages/{message['id']}"
    etag = (await caller.get(path)).headers["ETag"]
    await caller.delete(path)
    for _ in range(2):
        restored = await caller.post(f"{path}/restore")
        assert (restored.status, restored.json) == (200, message)
    again = await caller.get(path)
    assert (again.json, again.headers["ETag"]) == (message, etag)
    assert (await caller.page())["data"] == [message]


async def test_time_of_deletion_stays_when_it_is_deleted_twice(caller: Client) -> None:
    path = f"/v1/messages/{(await caller.store('Hello!'))['id']}"
    await caller.delete(path)
    first = (await caller.page(include="deleted"))["data"][0]["deleted_at"]
    assert TIME.fullmatch(first)
    await caller.delete(path)
    assert (await caller.page(include="deleted"))["data"][0]["deleted_at"] == first


async def test_next_message_follows_on_when_the_last_one_was_deleted(caller: Client) -> None:
    first = await caller.store("one")
    await caller.delete(f"/v1/messages/{first['id']}")
    second = await caller.store("two")
    assert (second["seq"], second["parent_id"]) == (2, first["id"])


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_editing_is_refused_when_tried(caller: Client, method: str) -> None:
    message = await caller.store("Hello!")
    path = f"/v1/messages/{message['id']}"
    answer = await caller.request(method, path, json={"content": "changed"})
    expect_problem(answer, 405, "message_immutable", instance=path)
    # RFC 9110, section 15.5.6: a 405 names what is allowed.
    assert {name.strip() for name in answer.headers["Allow"].split(",")} == {"GET", "DELETE"}
    assert (await caller.get(path)).json == message


@pytest.mark.parametrize("no_id", _NO_IDS)
async def test_message_is_not_found_when_the_id_cannot_be_one(caller: Client, no_id: str) -> None:
    path = f"/v1/messages/{no_id}"
    expect_problem(await caller.get(path), 404, "message_not_found")
    expect_problem(await caller.delete(path), 404, "message_not_found")
    expect_problem(await caller.post(f"{path}/restore"), 404, "message_not_found")
    expect_problem(await caller.get(f"{path}/replies"), 404, "message_not_found")
    expect_problem(await caller.post(f"{path}/replies", {}), 404, "message_not_found")


async def test_message_is_not_found_when_nobody_made_it(caller: Client) -> None:
    path = f"/v1/messages/{new_message_id()}"
    expect_problem(await caller.get(path), 404, "message_not_found", instance=path)
    expect_problem(await caller.delete(path), 404, "message_not_found", instance=path)
    expect_problem(await caller.post(f"{path}/restore"), 404, "message_not_found", instance=f"{path}/restore")
    expect_problem(await caller.get(f"{path}/replies"), 404, "message_not_found")
    expect_problem(await caller.post(f"{path}/replies", {}), 404, "message_not_found")
