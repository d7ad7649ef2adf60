"""The OpenAPI document tells the truth: it is valid, names every route and every error, and answers match it."""

import re
from typing import Any

import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it brings no types
from openapi_spec_validator import OpenAPIV31SpecValidator

from message_service.api.errors import TABLE
from tests.fixtures.client import Client
from tests.fixtures.service import Service

_ROUTES = {
    ("get", "/health/live"),
    ("get", "/health/ready"),
    ("get", "/metrics"),
    ("get", "/v1/messages"),
    ("post", "/v1/messages"),
    ("get", "/v1/messages/{message_id}"),
    ("put", "/v1/messages/{message_id}"),
    ("patch", "/v1/messages/{message_id}"),
    ("delete", "/v1/messages/{message_id}"),
    ("post", "/v1/messages/{message_id}/restore"),
    ("get", "/v1/messages/{message_id}/replies"),
    ("post", "/v1/messages/{message_id}/replies"),
    ("get", "/v1/replies/{reply_id}"),
    ("get", "/v1/replies/{reply_id}/stream"),
    ("post", "/v1/replies/{reply_id}/cancel"),
    ("get", "/v1/providers"),
    ("get", "/v1/usage"),
    ("get", "/v1/limits"),
    ("get", "/v1/admin/limits/{user_id}"),
    ("put", "/v1/admin/limits/{user_id}"),
    ("delete", "/v1/admin/limits/{user_id}"),
    ("get", "/v1/admin/dead-letters"),
    ("get", "/v1/admin/dead-letters/{reply_id}"),
    ("post", "/v1/admin/dead-letters/{reply_id}/retry"),
    ("delete", "/v1/admin/dead-letters/{reply_id}"),
}
_UNDOCUMENTED_CODES = {"relay_unavailable", "no_provider_available", "method_not_allowed", "not_found"}
"""Never a route's own answer: the first concerns watchers, the second workers, the others what is no route."""


@pytest.fixture
def caller(service: Service) -> Client:
    return service.client()


@pytest_asyncio.fixture(scope="module")
async def document(service: Service) -> dict[str, Any]:
    answer = await service.client().get("/openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    read: dict[str, Any] = answer.json
    return read


def _operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method, path): operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


async def test_document_is_valid_when_judged_by_the_specification(document: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.1\.\d", document["openapi"])
    assert [str(fault) for fault in OpenAPIV31SpecValidator(document).iter_errors()] == []


async def test_document_names_every_route_and_no_other_when_compared(document: dict[str, Any]) -> None:
    assert set(_operations(document)) == _ROUTES


async def test_every_operation_is_described_when_read(document: dict[str, Any]) -> None:
    operations = _operations(document)
    ids = [operation["operationId"] for operation in operations.values()]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", id_) for id_ in ids)
    tags = {tag["name"] for tag in document["tags"]}
    for (method, path), operation in operations.items():
        assert operation["summary"], (method, path)
        assert len(operation["tags"]) == 1
        assert operation["tags"][0] in tags
        assert all(answer["description"] for answer in operation["responses"].values()), (method, path)
        assert bool(operation["security"]) == path.startswith("/v1/")
        assert "HTTPValidationError" not in str(operation)


async def test_every_content_has_a_shape_when_documented(document: dict[str, Any]) -> None:
    for (method, path), operation in _operations(document).items():
        for status, answer in operation["responses"].items():
            for media_type, content in answer.get("content", {}).items():
                assert content["schema"], (method, path, status, media_type)
    stream = document["paths"]["/v1/replies/{reply_id}/stream"]["get"]["responses"]
    assert list(stream["200"]["content"]) == ["text/event-stream"]
    assert "content" not in stream["204"]


async def test_every_error_is_documented_when_a_route_can_answer_it(document: dict[str, Any]) -> None:
    documented: set[tuple[str, str]] = set()
    for (method, path), operation in _operations(document).items():
        refusals = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        for status, answer in refusals.items():
            if path.startswith("/v1/"):
                assert list(answer["content"]) == ["application/problem+json"], (method, path, status)
                reference = answer["content"]["application/problem+json"]["schema"]["$ref"]
                assert reference == "#/components/schemas/Problem"
            documented |= {(status, code) for code in re.findall(r"`(\w+)`", answer["description"])}
        if path.startswith("/v1/") and method not in ("put", "patch"):
            assert {"401", "503"} <= set(refusals), (method, path)
    wanted = {(str(status), code) for status, code in TABLE.values() if code not in _UNDOCUMENTED_CODES}
    assert wanted <= documented


async def test_examples_are_there_and_hold_when_checked_against_their_schemas(
    caller: Client, document: dict[str, Any]
) -> None:
    for (method, path), operation in _operations(document).items():
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            examples = _examples(document, schema)
            assert examples, (method, path)
            for example in examples:
                assert _faults(document, schema, example) == []
    example = _examples(document, {"$ref": "#/components/schemas/CreateMessage"})[0]
    assert (await caller.post("/v1/messages", example)).status in (201, 202)


async def test_answers_are_as_documented_when_compared_with_their_schemas(
    caller: Client, document: dict[str, Any]
) -> None:
    asked = {"conversation_id": "conv-1", "content": "/script rate=max say=hello", "character_id": "c", "reply": {}}
    created = await caller.post("/v1/messages", asked)
    reply = await caller.ended(created.json["reply"]["id"])
    behind = await caller.ask("/script first=600 say=never")
    message_id, reply_id = reply["message_id"], reply["id"]
    requests: list[tuple[str, str, str, Any]] = [
        ("post", "/v1/messages", "/v1/messages", {**asked, "reply": None}),
        ("post", "/v1/messages", "/v1/messages", asked),
        ("post", "/v1/messages", "/v1/messages", {}),
        ("get", "/v1/messages", "/v1/messages?conversation_id=conv-1&limit=2", None),
        ("get", "/v1/messages", "/v1/messages?conversation_id=conv-1&limit=0", None),
        ("get", "/v1/messages/{message_id}", f"/v1/messages/{reply_id}", None),
        ("get", "/v1/messages/{message_id}", "/v1/messages/none", None),
        ("put", "/v1/messages/{message_id}", f"/v1/messages/{message_id}", {}),
        ("post", "/v1/messages/{message_id}/restore", f"/v1/messages/{message_id}/restore", None),
        ("post", "/v1/messages/{message_id}/replies", f"/v1/messages/{message_id}/replies", {}),
        ("get", "/v1/messages/{message_id}/replies", f"/v1/messages/{message_id}/replies", None),
        ("get", "/v1/replies/{reply_id}", f"/v1/replies/{reply_id}", None),
        ("get", "/v1/replies/{reply_id}", f"/v1/replies/{behind['id']}", None),
        ("post", "/v1/replies/{reply_id}/cancel", f"/v1/replies/{behind['id']}/cancel", None),
        ("post", "/v1/replies/{reply_id}/cancel", f"/v1/replies/{reply_id}/cancel", None),
        ("get", "/v1/replies/{reply_id}/stream", f"/v1/replies/{reply_id}/stream?after=x", None),
        ("get", "/health/ready", "/health/ready", None),
        ("get", "/health/live", "/health/live", None),
    ]
    for method, path, url, body in requests:
        answer = await caller.request(method.upper(), url, json=body)
        responses = document["paths"][path][method]["responses"]
        assert str(answer.status) in responses, (method, url, answer.status)
        content = responses[str(answer.status)]["content"]
        schema = content[answer.headers["Content-Type"]]["schema"]
        assert schema, (method, path, answer.status)
        assert _faults(document, schema, answer.json) == [], (method, url)


async def test_events_are_as_documented_when_compared_with_their_schemas(
    caller: Client, document: dict[str, Any]
) -> None:
    stream = document["paths"]["/v1/replies/{reply_id}/stream"]["get"]["responses"]["200"]["content"]
    events = stream["text/event-stream"]["x-events"]
    said = ("say=hello", "fail=auth", "tokens=400 rate=20 one after the other", "fail=cut@3 tokens=9")
    asked = [await caller.ask(f"/script {script}", f"events-{number}") for number, script in enumerate(said)]
    await caller.reply_when(asked[2]["id"], "running")
    assert (await caller.post(f"/v1/replies/{asked[2]['id']}/cancel")).status == 202
    seen: set[str] = set()
    for reply in asked:
        for event in await caller.watch_whole(reply["id"]):
            assert _faults(document, events[event.name], event.content) == [], event
            seen.add(event.name)
    assert {"reply.started", "reply.delta", "usage", "reply.completed", "reply.cancelled", "reply.failed"} <= seen


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "components": document["components"]}


def _examples(document: dict[str, Any], schema: dict[str, Any]) -> list[Any]:
    name = schema["$ref"].rpartition("/")[2]
    examples: list[Any] = document["components"]["schemas"][name].get("examples", [])
    return examples


def _faults(document: dict[str, Any], schema: dict[str, Any], value: object) -> list[str]:
    return [fault.message for fault in Draft202012Validator(_resolved(document, schema)).iter_errors(value)]
