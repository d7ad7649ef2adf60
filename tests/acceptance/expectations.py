"""What every answer of the service must hold to, whatever was asked."""

import re
from typing import Any

from tests.fixtures.client import Answer

OWN_ID = re.compile(r"msg_[0-9A-HJKMNP-TV-Z]{26}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_PROBLEM_FIELDS = {"type", "title", "status", "detail", "instance", "code", "request_id", "retryable"}
_RETRYABLE = {
    "quota_exceeded",
    "rate_limited",
    "idempotency_in_progress",
    "store_unavailable",
    "overloaded",
    "no_provider_available",
}


def expect_problem(answer: Answer, status: int, code: str, *, instance: str | None = None) -> dict[str, Any]:
    """The RFC 9457 document of a refusal, complete and consistent with its headers."""
    assert answer.status == status, (answer.status, answer.body)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    problem: dict[str, Any] = answer.json
    assert problem["code"] == code, problem
    assert set(problem) - {"errors", "quota"} == _PROBLEM_FIELDS
    assert ("quota" in problem) == (code == "quota_exceeded")
    assert ("errors" in problem) == (code == "validation_failed")
    assert problem["status"] == status
    assert problem["type"] == f"urn:message-service:problem:{code}"
    assert problem["title"]
    assert problem["detail"]
    assert "Traceback" not in problem["detail"]
    assert problem["instance"].startswith("/")
    assert instance is None or problem["instance"] == instance
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert problem["retryable"] is (code in _RETRYABLE)
    return problem


def expect_faults(answer: Answer, *pointers: str) -> None:
    """A refusal of exactly these fields (RFC 6901 pointers)."""
    problem = expect_problem(answer, 422, "validation_failed")
    assert sorted(fault["pointer"] for fault in problem["errors"]) == sorted(pointers)
    assert all(set(fault) == {"pointer", "detail"} and fault["detail"] for fault in problem["errors"])


def told(answer: Answer) -> dict[str, Any]:
    """A problem without what differs between any two requests."""
    return {name: value for name, value in answer.json.items() if name not in ("request_id", "instance")}
