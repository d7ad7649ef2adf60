"""Metrics stay bounded whatever callers and providers send."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Message, Receive, Scope, Send

from message_service.api.envelope import Envelope
from message_service.metrics import Metrics

BOUNDED_LABELS = {"route", "method", "status", "provider", "code", "kind", "role", "token_class", "model"} | {
    "from_provider",
    "to_provider",
    "le",
}


async def answer_not_found(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def break_down(scope: Scope, receive: Receive, send: Send) -> None:
    raise KeyError(scope["path"])


async def ask(envelope: Envelope, method: str, path: str) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await envelope({"type": "http", "method": method, "path": path, "headers": []}, receive, send)
    return sent


def samples(metrics: Metrics, name: str) -> list[Any]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return [sample for family in families for sample in family.samples if sample.name == name]


async def test_series_stay_few_when_paths_and_methods_are_many() -> None:
    metrics = Metrics()
    envelope = Envelope(answer_not_found, metrics)
    for number in range(300):
        await ask(envelope, f"METHOD{number}", f"/v1/messages/msg_{number}")
    (only,) = samples(metrics, "message_service_http_requests_total")
    assert only.labels == {"route": "unmatched", "method": "other", "status": "404"}
    assert only.value == 300
    (seconds,) = samples(metrics, "message_service_http_request_seconds_count")
    assert seconds.value == 300


async def test_request_is_counted_as_broken_when_we_break() -> None:
    metrics = Metrics()
    started, _ = await ask(Envelope(break_down, metrics), "GET", "/v1/messages/msg_1")
    assert started["status"] == 500
    (only,) = samples(metrics, "message_service_http_requests_total")
    assert only.labels == {"route": "unmatched", "method": "GET", "status": "500"}


def test_no_label_can_hold_a_user_a_conversation_or_an_id() -> None:
    for collector in vars(Metrics()).values():
        names = getattr(collector, "_labelnames", ())
        assert set(names) <= BOUNDED_LABELS, collector


def test_processes_share_nothing_when_two_are_made() -> None:
    one, other = Metrics(), Metrics()
    one.idempotent_replays.inc()
    assert samples(one, "message_service_idempotent_replays_total")[0].value == 1
    assert samples(other, "message_service_idempotent_replays_total")[0].value == 0


@pytest.mark.parametrize("name", ["message_service_streams_open", "message_service_replies_in_process"])
def test_gauge_is_there_when_nothing_happened_yet(name: str) -> None:
    (only,) = samples(Metrics(), name)
    assert only.value == 0


async def test_answers_in_process_are_counted_while_they_run() -> None:
    metrics = Metrics()
    seen = []

    async def answer(*_: object) -> None:
        seen.append(samples(metrics, "message_service_replies_in_process")[0].value)

    await metrics.in_process(answer)("msg_1")
    assert seen == [1]
    assert samples(metrics, "message_service_replies_in_process")[0].value == 0
