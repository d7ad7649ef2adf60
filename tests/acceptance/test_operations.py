"""For whoever runs the service: probes, and metrics whose labels stay bounded."""

import asyncio
import socket
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.fixtures.client import Client
from tests.fixtures.service import Service, StartService
from tests.fixtures.service_processes import free_port

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
    "message_service_provider_tokens": {"provider", "token_class"},
    "message_service_provider_cost_nanodollars": {"provider", "model"},
    "message_service_provider_unpriced_attempts": {"provider"},
}


@pytest.fixture
def caller(service: Service) -> Client:
    return service.client()


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
    assert set(ready.json) == {"status", "detail", "dependencies", "queue"}
    assert (ready.json["status"], ready.json["queue"]["status"]) == ("ready", "ok")
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
    paths = {*(await caller.get("/openapi.json")).json["paths"], "/openapi.json", "unmatched"}
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
    assert value("provider_tokens_total", provider="scripted", token_class="output") == 7
    assert value("provider_tokens_total", provider="scripted", token_class="input") > 0
    assert value("provider_seconds_count", provider="scripted") == 2
    assert value("provider_first_token_seconds_count", provider="scripted") == 1
    assert value("reply_seconds_count", status="completed") == 1
    assert value("replies_in_process") == 0


async def test_worker_says_what_to_do_when_its_metrics_port_is_taken(service: Service, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "message_service", "work"),
            cwd=tmp_path,
            env=service.environment | {"MESSAGE_SERVICE_WORKER_METRICS_PORT": port},
            stderr=asyncio.subprocess.PIPE,
        )
        _, said = await asyncio.wait_for(worker.communicate(), 60)
    assert worker.returncode == 2
    assert f"port {port}" in said.decode()
    assert "Traceback" not in said.decode()
