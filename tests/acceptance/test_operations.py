"""For whoever runs the service: probes, metrics, and a document that tells the truth about all of it."""

import re
from typing import Any

import pytest
import pytest_asyncio
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it brings no types
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.parser import text_string_to_metric_families

from message_service.api.errors import TABLE
from tests.fixtures.client import Client
from tests.fixtures.service import Service, StartService, free_port

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
}
_API_FAMILIES = {
    "message_service_http_requests": {"route", "method", "status"},
    "message_service_http_request_seconds": {"route"},
    "message_service_streams_open": set(),
    "message_service_messages_accepted": {"role"},
    "message_service_idempotent_replays": set(),
    "message_service_replies_ended": {"status", "provider"},
    "message_service_reply_seconds": {"status"},
    "message_service_queue_waiting": {"kind"},
    "message_service_queue_in_process": {"kind"},
}
_WORKER_FAMILIES = {
    "message_service_replies_in_process": set[str](),
    "message_service_provider_seconds": {"provider"},
    "message_service_provider_first_token_seconds": {"provider"},
    "message_service_provider_errors": {"provider", "code"},
    "message_service_provider_switches": {"from_provider", "to_provider"},
    "message_service_provider_tokens": {"provider", "direction"},
}
_UNDOCUMENTED_CODES = {"relay_unavailable", "method_not_allowed", "not_found"}
"""Never a route's own answer: the first only concerns watchers, the others what is no route."""


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


async def _samples(caller: Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = (await caller.get("/metrics")).body.decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_probes_say_that_all_is_well_when_it_is(caller: Client) -> None:
    live = await caller.get("/health/live")
    assert (live.status, live.json) == (200, {"status": "live"})
    ready = await caller.get("/health/ready")
    assert ready.status == 200
    dependencies = ready.json["dependencies"]
    assert ready.json == {"status": "ready", "dependencies": dependencies}
    assert set(dependencies) == {"mongodb", "redis"}
    for found in dependencies.values():
        assert set(found) == {"status", "latency_ms"}
        assert found["status"] == "ok"
        assert found["latency_ms"] > 0


async def test_metrics_move_when_messages_come(service: Service, caller: Client) -> None:
    before = await _samples(caller)
    asked = {"conversation_id": "conv-1", "content": "/script rate=max say=hello", "reply": {}}
    for _ in range(2):
        answer = await caller.post("/v1/messages", asked, headers={"Idempotency-Key": "key-1"})
    reply_id = answer.json["reply"]["id"]
    await caller.watch_whole(reply_id)
    await caller.get(f"/v1/messages/{reply_id}")
    await caller.get("/v1/messages/none")
    await caller.get("/nowhere/at/all")
    await caller.request("PROPFIND", "/v1/messages")
    after = await _samples(caller)

    def moved(name: str, **labels: str) -> float:
        key = (f"message_service_{name}", tuple(sorted(labels.items())))
        return after.get(key, 0) - before.get(key, 0)

    assert moved("messages_accepted_total", role="user") == 1
    assert moved("idempotent_replays_total") == 1
    assert moved("http_requests_total", route="/v1/messages", method="POST", status="202") == 2
    assert moved("http_request_seconds_count", route="/v1/messages") >= 2
    assert moved("http_requests_total", route="/v1/replies/{reply_id}/stream", method="GET", status="200") == 1
    one = "/v1/messages/{message_id}"
    assert moved("http_requests_total", route=one, method="GET", status="200") == 1
    assert moved("http_requests_total", route=one, method="GET", status="404") == 1
    assert moved("http_requests_total", route="unmatched", method="GET", status="404") == 1
    assert moved("http_requests_total", route="/v1/messages", method="other", status="405") == 1
    assert after[("message_service_streams_open", ())] == 0


async def test_open_streams_are_counted_when_somebody_watches(caller: Client) -> None:
    asked = await caller.ask("/script first=600 say=never")
    key = ("message_service_streams_open", ())
    before = (await _samples(caller))[key]
    async with caller.watch(asked["id"]) as watch:
        await watch.next()
        assert (await _samples(caller))[key] == before + 1
    await caller.post(f"/v1/replies/{asked['id']}/cancel")


async def test_metric_families_are_the_promised_ones_when_read(service: Service, caller: Client) -> None:
    exposition = await caller.get("/metrics")
    assert exposition.headers["Content-Type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(exposition.body.decode())}
    promised = {name for name in families if not name.endswith("_created")}
    assert set(_API_FAMILIES) | set(_WORKER_FAMILIES) <= promised
    for name, labels in (_API_FAMILIES | _WORKER_FAMILIES).items():
        assert families[name].documentation
        for sample in families[name].samples:
            assert set(sample.labels) - {"le"} == labels, name


async def test_label_values_are_bounded_when_requests_are_not(service: Service, caller: Client) -> None:
    secret = "tell-nobody"
    noisy = service.client(f"user-{secret}").saying(X_Request_ID=secret)
    for number in range(5):
        await noisy.get(f"/v1/{secret}-{number}")
        await noisy.get(f"/v1/messages/{secret}-{number}")
        await noisy.request("PROPFIND", f"/v1/messages/{secret}-{number}")
        await noisy.store("x", f"conv-{secret}-{number}")
    exposition = (await caller.get("/metrics")).body.decode()
    assert secret not in exposition.lower()
    paths = {path for _, path in _ROUTES} | {"unmatched", "/openapi.json"}
    methods = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            assert sample.labels.get("route", "unmatched") in paths
            assert sample.labels.get("method", "other") in methods


async def test_worker_tells_its_own_metrics_when_given_a_port(start_service: StartService) -> None:
    port = free_port()
    async with start_service(apis=1, workers=1, WORKER_METRICS_PORT=str(port)) as running:
        caller = running.client()
        assert (await caller.ended((await caller.ask("/script rate=max tokens=7"))["id"]))["status"] == "completed"
        failed = await caller.ask("/script fail=auth")
        assert (await caller.ended(failed["id"]))["status"] == "failed"
        samples = await _samples(caller.at(f"http://127.0.0.1:{port}"))

    def value(name: str, **labels: str) -> float:
        return samples[(f"message_service_{name}", tuple(sorted(labels.items())))]

    assert value("replies_ended_total", status="completed", provider="scripted") == 1
    assert value("provider_errors_total", provider="scripted", code="provider_auth_failed") == 1
    assert value("provider_tokens_total", provider="scripted", direction="output") == 7
    assert value("provider_tokens_total", provider="scripted", direction="input") > 0
    assert value("provider_seconds_count", provider="scripted") == 1
    assert value("provider_first_token_seconds_count", provider="scripted") == 1
    assert value("reply_seconds_count", status="completed") == 1
    assert value("replies_in_process") == 0


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


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "components": document["components"]}


def _examples(document: dict[str, Any], schema: dict[str, Any]) -> list[Any]:
    name = schema["$ref"].rpartition("/")[2]
    examples: list[Any] = document["components"]["schemas"][name].get("examples", [])
    return examples


def _faults(document: dict[str, Any], schema: dict[str, Any], value: object) -> list[str]:
    return [fault.message for fault in Draft202012Validator(_resolved(document, schema)).iter_errors(value)]
