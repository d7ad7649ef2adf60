"""The table from errors to HTTP: nothing that can reach a caller is without a row, and nothing else tells anything."""

import inspect
import re
from datetime import UTC, datetime

import pytest

from message_service import errors
from message_service.api.errors import (
    INTERNAL_ERROR,
    TABLE,
    problem,
    problem_headers,
    problem_response,
    status_and_code,
)
from message_service.errors import FieldFault, MessageServiceError, RateLimited, ValidationFailed
from message_service.store.transaction import TransactionConflict

ALL = [one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, MessageServiceError)]
INSIDE = (*errors.ProviderError.__subclasses__(), errors.StartRefused, errors.ClaimLost)
"""They end a reply, a start, or a worker's work; no request ends in one."""
CONCRETE = [one for one in ALL if not one.__subclasses__() or one in TABLE]
REACHING = [one for one in CONCRETE if one in TABLE or not issubclass(one, INSIDE)]


def instance_of(kind: type[MessageServiceError]) -> MessageServiceError:
    if issubclass(kind, RateLimited):
        return kind(limit=100, window_seconds=60, retry_after_seconds=1.2)
    if issubclass(kind, errors.QuotaExceeded):
        return kind(
            unit="tokens",
            period="day",
            limit=100,
            remaining=7,
            wanted=50,
            resets_at=datetime(2026, 12, 1, tzinfo=UTC),
            retry_after_seconds=1.2,
        )
    if issubclass(kind, ValidationFailed):
        return kind([FieldFault("/content", "There is nothing to read in it.")])
    if issubclass(kind, errors.ProviderError):
        return kind("A secret of the provider.", provider="any")
    return kind()


@pytest.mark.parametrize("kind", REACHING)
def test_error_has_a_row_when_it_can_reach_a_caller(kind: type[MessageServiceError]) -> None:
    fault = instance_of(kind)
    status, code = status_and_code(fault)
    assert (status, code) != INTERNAL_ERROR
    document = problem(fault, instance="/v1/messages", request_id="req_1")
    assert document["detail"] == fault.detail
    assert document["retryable"] == fault.is_transient
    assert len(document["detail"]) > 10
    assert document["detail"].endswith(".")


@pytest.mark.parametrize("kind", [one for one in ALL if issubclass(one, INSIDE) and one not in TABLE])
def test_error_tells_nothing_when_it_should_not_have_come_out(kind: type[MessageServiceError]) -> None:
    fault = instance_of(kind)
    assert status_and_code(fault) == INTERNAL_ERROR
    assert fault.detail not in str(problem(fault, instance="/", request_id="req_1"))


def test_foreign_error_tells_nothing() -> None:
    document = problem(KeyError("a secret"), instance="/", request_id="req_1")
    assert (document["status"], document["code"], document["retryable"]) == (500, "internal_error", True)
    assert "secret" not in str(document)


def test_conflict_in_the_store_is_an_outcome_unknown() -> None:
    assert status_and_code(TransactionConflict()) == (503, "store_unavailable")


def test_position_of_another_stream_answers_as_a_cursor_of_another_listing() -> None:
    assert status_and_code(errors.InvalidPosition()) == (400, "invalid_cursor")


def test_codes_are_distinct_and_speak_for_themselves() -> None:
    codes = [code for _, code in TABLE.values()]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("malformed_request", 400),
        ("invalid_cursor", 400),
        ("identity_missing", 401),
        ("identity_invalid", 401),
        ("forbidden", 403),
        ("message_not_found", 404),
        ("reply_not_found", 404),
        ("message_immutable", 405),
        ("conversation_full", 409),
        ("idempotency_in_progress", 409),
        ("reply_not_cancellable", 409),
        ("content_too_long", 413),
        ("body_too_large", 413),
        ("validation_failed", 422),
        ("idempotency_key_reused", 422),
        ("rate_limited", 429),
        ("overloaded", 503),
        ("store_unavailable", 503),
        ("no_provider_available", 503),
    ],
)
def test_status_is_the_promised_one(code: str, status: int) -> None:
    assert (status, code) in TABLE.values()


def test_problem_is_complete_when_fields_failed() -> None:
    fault = ValidationFailed([FieldFault("/metadata/a~1b", "Too long.")])
    assert problem(fault, instance="/v1/messages", request_id="req_1") == {
        "type": "urn:message-service:problem:validation_failed",
        "title": "Not acceptable as it is",
        "status": 422,
        "detail": "Some fields are not acceptable.",
        "instance": "/v1/messages",
        "code": "validation_failed",
        "request_id": "req_1",
        "retryable": False,
        "errors": [{"pointer": "/metadata/a~1b", "detail": "Too long."}],
    }


def test_media_type_and_status_are_those_of_the_problem() -> None:
    response = problem_response(errors.MessageNotFound(), instance="/v1/messages/x", request_id="req_1")
    assert (response.status_code, response.media_type) == (404, "application/problem+json")


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (1.01, "2"), (59.5, "60")])
def test_nobody_comes_back_early_when_told_when_to_retry(seconds: float, header: str) -> None:
    fault = RateLimited(limit=100, window_seconds=60, retry_after_seconds=seconds)
    headers = problem_headers(fault)
    assert headers["Retry-After"] == header
    assert headers["RateLimit-Policy"] == '"messages";q=100;w=60'
    assert headers["RateLimit"].startswith('"messages";r=0;t=')
