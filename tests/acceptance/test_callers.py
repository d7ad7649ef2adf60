"""Who may ask: the gateway's key and headers, and a start refused where anybody could claim to be anybody."""

import subprocess
import sys
from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from tests.acceptance.expectations import expect_problem
from tests.fixtures.client import Answer, Client
from tests.fixtures.service import Service, StartService

_KEY = "a-secret-of-the-gateway"
_ROUTES = [
    ("POST", "/v1/messages"),
    ("GET", "/v1/messages?conversation_id=conv-1"),
    ("GET", "/v1/messages/msg_00000000000000000000000000"),
    ("DELETE", "/v1/messages/msg_00000000000000000000000000"),
    ("POST", "/v1/messages/msg_00000000000000000000000000/restore"),
    ("POST", "/v1/messages/msg_00000000000000000000000000/replies"),
    ("GET", "/v1/messages/msg_00000000000000000000000000/replies"),
    ("GET", "/v1/replies/msg_00000000000000000000000000"),
    ("GET", "/v1/replies/msg_00000000000000000000000000/stream"),
    ("POST", "/v1/replies/msg_00000000000000000000000000/cancel"),
    ("GET", "/v1/usage"),
    ("GET", "/v1/limits"),
    ("GET", "/v1/admin/limits/ada"),
    ("DELETE", "/v1/admin/limits/ada"),
]


@pytest_asyncio.fixture(scope="module")
async def guarded(start_service: StartService) -> AsyncIterator[Service]:
    async with start_service(apis=1, workers=0, GATEWAY_KEY=_KEY) as running:
        yield running


async def _ask(caller: Client, headers: list[tuple[str, str]], method: str = "GET", path: str = "") -> Answer:
    """With these headers and no others."""
    body = {"conversation_id": "conv-1", "content": "x"} if method == "POST" else None
    anonymous = Client(caller.session, caller.base_url, {})
    return await anonymous.request(method, path or "/v1/messages?conversation_id=conv-1", json=body, headers=headers)


@pytest.mark.parametrize(("method", "path"), _ROUTES)
async def test_every_route_asks_who_it_is_when_nobody_says(service: Service, method: str, path: str) -> None:
    answer = await _ask(service.client(), [], method, path)
    expect_problem(answer, 401, "identity_missing", instance=path.partition("?")[0])


@pytest.mark.parametrize(
    "headers",
    [
        [("X-User-Id", "one"), ("X-User-Id", "two")],
        [("X-User-Id", "one"), ("X-User-Id", "one")],
        [("X-User-Id", "")],
        [("X-User-Id", " ")],
        [("X-User-Id", "two words")],
        [("X-User-Id", "caf\u00e9")],
        [("X-User-Id", "x" * 129)],
        [("X-User-Id", "one"), ("X-User-Roles", "service"), ("X-User-Roles", "admin")],
    ],
    ids=["two", "same twice", "empty", "blank", "space", "not ascii", "too long", "roles twice"],
)
async def test_identity_is_refused_when_its_headers_are_not_acceptable(
    service: Service, headers: list[tuple[str, str]]
) -> None:
    for method, path in _ROUTES[:3]:
        expect_problem(await _ask(service.client(), headers, method, path), 401, "identity_invalid")


async def test_identity_is_taken_when_it_is_as_long_as_can_be(service: Service) -> None:
    for user_id in ("x" * 128, "!~:/@\\'\"{}"):
        answer = await _ask(service.client(), [("X-User-Id", user_id)], "POST", "/v1/messages")
        assert (answer.status, answer.json["message"]["user_id"]) == (201, user_id)


@pytest.mark.parametrize(("method", "path"), _ROUTES)
@pytest.mark.parametrize(
    "keys",
    [[], ["wrong"], [""], [_KEY + "x"], [_KEY[:-1]], [_KEY.upper()], [_KEY, _KEY], [_KEY, "wrong"], ["caf\u00e9"]],
    ids=["none", "wrong", "empty", "longer", "shorter", "upper case", "twice", "and another", "not ascii"],
)
async def test_every_route_refuses_when_the_gateway_key_is_not_there_and_right(
    guarded: Service, method: str, path: str, keys: list[str]
) -> None:
    headers = [("X-User-Id", "somebody"), *(("X-Gateway-Key", key) for key in keys)]
    answer = await _ask(guarded.client(), headers, method, path)
    problem = expect_problem(answer, 401, "identity_invalid")
    assert _KEY not in answer.body.decode()
    assert problem["instance"] == path.partition("?")[0]


async def test_caller_is_served_when_the_gateway_key_is_right(guarded: Service) -> None:
    caller = guarded.client(X_Gateway_Key=_KEY)
    message = await caller.store("Hello!")
    assert (await caller.page())["data"] == [message]
    without_user = await _ask(caller, [("X-Gateway-Key", _KEY)])
    expect_problem(without_user, 401, "identity_missing")


async def test_probes_need_no_key_when_the_gateway_has_one(guarded: Service) -> None:
    for path in ("/health/live", "/health/ready", "/metrics", "/openapi.json"):
        assert (await _ask(guarded.client(), [], "GET", path)).status == 200, path


def _serve(environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "message_service", "serve"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "example.test"])
def test_start_is_refused_when_others_could_reach_it_and_there_is_no_key(service: Service, host: str) -> None:
    ended = _serve(service.environment | {"MESSAGE_SERVICE_HOST": host, "MESSAGE_SERVICE_PORT": "0"})
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "gateway_key must be set" in ended.stderr
    assert host in ended.stderr
    assert "Traceback" not in ended.stderr


def test_start_is_refused_when_the_stores_are_not_named(process_environment: dict[str, str]) -> None:
    ended = _serve(process_environment)
    assert ended.returncode == 2
    assert "MESSAGE_SERVICE_MONGODB_URL" in ended.stderr
    assert "Traceback" not in ended.stderr
