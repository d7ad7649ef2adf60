"""One table from our errors to HTTP, and RFC 9457 problem documents."""

from typing import Any, Final

import orjson
from starlette.responses import Response

from message_service import errors
from message_service.clock import rfc3339
from message_service.errors import MessageServiceError, QuotaExceeded, RateLimited, ValidationFailed
from message_service.messages.reply import ReplyError

PROBLEM_TYPE = "application/problem+json"

TABLE: Final[dict[type[MessageServiceError], tuple[int, str]]] = {
    errors.MalformedRequest: (400, "malformed_request"),
    errors.InvalidCursor: (400, "invalid_cursor"),
    errors.ValidationFailed: (422, "validation_failed"),
    errors.IdentityMissing: (401, "identity_missing"),
    errors.IdentityInvalid: (401, "identity_invalid"),
    errors.Forbidden: (403, "forbidden"),
    errors.RouteNotFound: (404, "not_found"),
    errors.MessageNotFound: (404, "message_not_found"),
    errors.ReplyNotFound: (404, "reply_not_found"),
    errors.DeadLetterNotFound: (404, "dead_letter_not_found"),
    errors.MessageImmutable: (405, "message_immutable"),
    errors.MethodNotAllowed: (405, "method_not_allowed"),
    errors.ConversationFull: (409, "conversation_full"),
    errors.IdempotencyInProgress: (409, "idempotency_in_progress"),
    errors.BudgetsOff: (409, "budgets_off"),
    errors.ReplyNotCancellable: (409, "reply_not_cancellable"),
    errors.ContentTooLong: (413, "content_too_long"),
    errors.BodyTooLarge: (413, "body_too_large"),
    errors.IdempotencyKeyReused: (422, "idempotency_key_reused"),
    errors.RateLimited: (429, "rate_limited"),
    errors.QuotaExceeded: (429, "quota_exceeded"),
    errors.Overloaded: (503, "overloaded"),
    errors.StoreUnavailable: (503, "store_unavailable"),
    errors.RelayUnavailable: (503, "relay_unavailable"),
    errors.NoProviderAvailable: (503, "no_provider_available"),
}
"""The nearest ancestor in the table counts. What has none is our fault: 500."""

INTERNAL_ERROR: Final = (500, "internal_error")

_TITLES: Final = {
    400: "Bad request",
    401: "Who is asking?",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    422: "Not acceptable as it is",
    429: "Too many requests",
    500: "Internal error",
    503: "Unavailable",
}


def status_and_code(fault: Exception) -> tuple[int, str]:
    for ancestor in type(fault).__mro__:
        if ancestor in TABLE:
            return TABLE[ancestor]
    return INTERNAL_ERROR


def problem(fault: Exception, *, instance: str | None, request_id: str) -> dict[str, Any]:
    """The document for `fault`. Of an error that is not ours nothing is told but that it happened."""
    status, code = status_and_code(fault)
    is_told = isinstance(fault, MessageServiceError) and status != INTERNAL_ERROR[0]
    document: dict[str, Any] = {
        "type": f"urn:message-service:problem:{code}",
        "title": _TITLES[status],
        "status": status,
        "detail": str(fault) if is_told else "Something broke on our side.",
        "instance": instance,
        "code": code,
        "request_id": request_id,
        "retryable": status == 500 or (isinstance(fault, MessageServiceError) and fault.is_transient),
    }
    if isinstance(fault, ValidationFailed):
        document["errors"] = [{"pointer": one.pointer, "detail": one.detail} for one in fault.faults]
    if isinstance(fault, QuotaExceeded):
        document["quota"] = {
            "unit": fault.unit,
            "period": fault.period,
            "limit": fault.limit,
            "remaining": fault.remaining,
            "wanted": fault.wanted,
            "resets_at": rfc3339(fault.resets_at),
        }
    return {field: value for field, value in document.items() if value is not None}


def reply_problem(error: ReplyError, *, instance: str, request_id: str) -> dict[str, Any]:
    """The document for a reply that failed, told in its stream."""
    return {
        "type": f"urn:message-service:problem:{error.code}",
        "title": "The reply failed",
        "status": 503,
        "detail": error.detail,
        "instance": instance,
        "code": error.code,
        "request_id": request_id,
        # By asking for another reply to the same message.
        "retryable": True,
    }


def problem_response(fault: Exception, *, instance: str, request_id: str) -> Response:
    document = problem(fault, instance=instance, request_id=request_id)
    return Response(orjson.dumps(document), document["status"], headers=problem_headers(fault), media_type=PROBLEM_TYPE)


def problem_headers(fault: Exception) -> dict[str, str]:
    headers: dict[str, str] = {}
    if isinstance(fault, MessageServiceError) and fault.retry_after_seconds is not None:
        # Rounded up: whoever waits exactly so long must not be early.
        headers["Retry-After"] = str(max(1, int(-(-fault.retry_after_seconds // 1))))
    if isinstance(fault, RateLimited):
        headers |= rate_limit_headers(fault.limit, 0, fault.retry_after_seconds or fault.window_seconds)
    return headers


def rate_limit_headers(limit: int, remaining: int, reset_seconds: float) -> dict[str, str]:
    """Draft-ietf-httpapi-ratelimit-headers: structured fields, the policy named `messages`."""
    return {
        "RateLimit-Policy": f'"messages";q={limit};w=60',
        "RateLimit": f'"messages";r={remaining};t={max(0, int(-(-reset_seconds // 1)))}',
    }
