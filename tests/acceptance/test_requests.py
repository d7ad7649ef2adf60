"""What holds for every request: ids, headers, and refusals before anything is looked at."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from tests.acceptance.expectations import expect_problem
from tests.fixtures.client import Client
from tests.fixtures.service import Service
from tests.fixtures.waiting import eventually

_JSON = {"Content-Type": "application/json"}
_MAX_BODY_BYTES = 1_048_576


@pytest.fixture
def caller(service: Service) -> Client:
    return service.client()


async def test_request_id_is_echoed_when_the_caller_sends_one(caller: Client) -> None:
    for sent in ("trace-1", "x" * 128, "!~"):
        tagged = caller.saying(X_Request_ID=sent)
        assert (await tagged.get("/v1/messages/none")).headers["X-Request-ID"] == sent
        problem = expect_problem(await tagged.get("/v1/nowhere"), 404, "not_found")
        assert problem["request_id"] == sent
        assert (await tagged.get("/health/live")).headers.getall("X-Request-ID") == [sent]


@pytest.mark.parametrize("sent", [None, "", "x" * 129, "with space", "caf\u00e9"])
async def test_request_id_is_made_when_there_is_none_to_echo(caller: Client, sent: str | None) -> None:
    tagged = caller if sent is None else caller.saying(X_Request_ID=sent)
    ids = {(await tagged.get("/v1/messages/none")).headers["X-Request-ID"] for _ in range(2)}
    assert len(ids) == 2
    assert all(re.fullmatch(r"req_[0-9A-Z]{26}", made) for made in ids)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/messages",
        "/v1/message",
        "/v1/messages/",
        "/v1/messages/a/b/c",
        "/v2/messages",
        "/v1/replies",
        "/x",
    ],
)
async def test_address_is_not_found_when_there_is_no_such_route(caller: Client, path: str) -> None:
    answer = await caller.get(path)
    expect_problem(answer, 404, "not_found", instance=path)
    assert "Location" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/messages", {"GET", "POST"}),
        ("DELETE", "/v1/messages", {"GET", "POST"}),
        ("POST", "/v1/messages/msg_1", {"GET", "DELETE"}),
        ("GET", "/v1/messages/msg_1/restore", {"POST"}),
        ("DELETE", "/v1/messages/msg_1/replies", {"GET", "POST"}),
        ("POST", "/v1/replies/msg_1", {"GET"}),
        ("POST", "/v1/replies/msg_1/stream", {"GET"}),
        ("GET", "/v1/replies/msg_1/cancel", {"POST"}),
        ("POST", "/health/live", {"GET"}),
        ("TRACE", "/v1/messages", {"GET", "POST"}),
        ("OPTIONS", "/v1/messages", {"GET", "POST"}),
    ],
)
async def test_method_is_refused_when_the_address_does_not_take_it(
    caller: Client, method: str, path: str, allowed: set[str]
) -> None:
    answer = await caller.request(method, path)
    expect_problem(answer, 405, "method_not_allowed", instance=path)
    # RFC 9110, section 15.5.6.
    assert {name.strip() for name in answer.headers["Allow"].split(",")} == allowed


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b'{"conversation_id": "c", "content": "x"',
        b'{"conversation_id": "c", "content": "x"} trailing',
        b"{'conversation_id': 'c'}",
        b'{"content": "\xff"}',
        b'{"content": "\\ud83d"',
        b'{"content": "\\x"}',
        b"[" * 100_000,
        b'{"a":' * 20_000 + b'"\\ud83d"',
    ],
    ids=[
        "empty",
        "open",
        "words",
        "unclosed",
        "trailing",
        "quotes",
        "not utf-8",
        "half pair, unclosed",
        "escape",
        "deep",
        "deep with half a pair",
    ],
)
async def test_body_is_refused_when_it_is_not_json(caller: Client, body: bytes) -> None:
    for path in ("/v1/messages", "/v1/messages/msg_00000000000000000000000000/replies"):
        expect_problem(await caller.post(path, body=body, headers=_JSON), 400, "malformed_request", instance=path)


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"7", b"null", b"true"])
async def test_body_is_refused_when_it_is_json_of_another_shape(caller: Client, body: bytes) -> None:
    expect_problem(await caller.post("/v1/messages", body=body, headers=_JSON), 422, "validation_failed")


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "application/json-seq"],
)
async def test_body_is_refused_when_it_is_not_sent_as_json(caller: Client, content_type: str | None) -> None:
    body = b'{"conversation_id": "conv-1", "content": "x"}'
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await caller.post("/v1/messages", body=body, headers=headers)
    expect_problem(answer, 400, "malformed_request")
    assert (await caller.page())["data"] == []


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"],
)
async def test_body_is_taken_when_it_is_sent_as_json(caller: Client, content_type: str) -> None:
    body = '{"conversation_id": "conv-1", "content": "\u00fc"}'.encode()
    answer = await caller.post("/v1/messages", body=body, headers={"Content-Type": content_type})
    assert (answer.status, answer.json["message"]["content"]) == (201, "\u00fc")


async def test_body_is_too_large_when_it_is_past_the_bound(caller: Client) -> None:
    def body(size: int) -> bytes:
        start = b'{"conversation_id": "conv-1", "content": "x"'
        return start + b" " * (size - len(start) - 1) + b"}"

    assert (await caller.post("/v1/messages", body=body(_MAX_BODY_BYTES), headers=_JSON)).status == 201
    refused = await caller.post("/v1/messages", body=body(_MAX_BODY_BYTES + 1), headers=_JSON)
    expect_problem(refused, 413, "body_too_large", instance="/v1/messages")
    assert len((await caller.page())["data"]) == 1


async def test_body_is_too_large_when_it_comes_in_chunks_without_a_length(caller: Client) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'{"conversation_id": "conv-1", "content": "'
        for _ in range(_MAX_BODY_BYTES // 65_536):
            yield b"x" * 65_536

    async with caller.session.post(
        f"{caller.base_url}/v1/messages", data=body(), headers={**caller.headers, **_JSON}
    ) as response:
        assert (response.status, (await response.json(content_type=None))["code"]) == (413, "body_too_large")


async def test_private_answers_are_not_kept_when_they_pass_a_cache(caller: Client) -> None:
    reply = await caller.ask("/script say=hello")
    await caller.ended(reply["id"])
    for path in (
        "/v1/messages?conversation_id=conv-1",
        f"/v1/messages/{reply['message_id']}/replies",
        f"/v1/replies/{reply['id']}",
        f"/v1/replies/{reply['id']}/stream",
    ):
        answer = await caller.get(path)
        assert answer.status == 200
        assert answer.headers.getall("Cache-Control") == ["no-store"], path
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_nothing_breaks_when_a_caller_leaves_before_its_request_is_whole(
    service: Service, caller: Client
) -> None:
    api = service.apis[0]
    _, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nX-User-Id: left-early\r\nContent-Type: application/json\r\n"
        b'Content-Length: 200\r\n\r\n{"conversation_id": "conv-1", "content": "half a'
    )
    await writer.drain()
    await caller.get("/health/live")
    writer.transport.abort()

    async def has_noticed() -> bool:
        return b'status="499"' in (await caller.get("/metrics")).body

    await eventually(has_noticed, seconds=20, what="the API noticed that its caller left")
    assert "request.broke" not in api.log()
