"""What a provider says went wrong, as a class of our tree: from a status and a body, whatever their shape."""

import re
from dataclasses import dataclass, replace

import orjson

from message_service.errors import (
    ContextTooLong,
    ModelNotFound,
    ModelUnavailable,
    ProviderAuthFailed,
    ProviderConnectFailed,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRequestInvalid,
    ProviderTimeout,
    StreamCut,
)
from message_service.providers.context_numbers import context_numbers

_MAX_QUOTED_CHARACTERS = 300

_QUOTA_CODES = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "billing_hard_limit_reached",
        "billing_error",
        "enforced_spend_limit_reached",
        "contract_spend_limit_reached",
    }
)
_RATE_CODES = frozenset(
    {"rate_limit_exceeded", "rate_limit_error", "slow_down", "too_many_requests", "ramp_limit_exceeded"}
)
_OVERLOAD_CODES = frozenset({"overloaded_error", "server_is_overloaded", "engine_overloaded"})
_AUTH_CODES = frozenset({"invalid_api_key", "authentication_error", "permission_error"})
_CONTEXT_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error", "request_too_large"})
_NO_MODEL_CODES = frozenset({"model_not_found"})
_MODEL_CODES = frozenset({"model_not_loaded"})
_TIMEOUT_CODES = frozenset({"timeout_error"})
_FAILED_CODES = frozenset({"server_error"})
_INVALID_CODES = frozenset({"invalid_request_error", "invalid_request", "invalid_prompt"})

_MODEL_NOT_READY = re.compile(
    r"no models? (?:is |are )?(?:currently )?loaded|model (?:has been |was |is )?(?:unloaded|not loaded)"
    r"|failed to load (?:the )?model|(?:error|failed) loading model|loading model|insufficient system resources",
    re.IGNORECASE,
)
_NO_SUCH_MODEL = re.compile(r"model .{0,200}(?:not found|does not exist)|^model: ", re.IGNORECASE | re.DOTALL)
_CONTEXT_OVERFLOW = re.compile(
    r"context (?:the )?(?:length|size|window|limit|overflow)|\bn_keep\b|\bn_ctx\b|prompt is too long",
    re.IGNORECASE,
)
"""LM Studio and llama.cpp word it in at least five ways, and only llama.cpp gives it a type."""
_NO_CREDIT = re.compile(r"credit balance is too low|insufficient (?:credits?|balance|funds)\b", re.IGNORECASE)
"""Anthropic says it with the status and the type of a bad request."""
_CRASH = re.compile(r"\bcrashed\b", re.IGNORECASE)
_WRONG_ADDRESS = re.compile(r"unexpected endpoint", re.IGNORECASE)
_NO_SUCH_ROUTE = re.compile(
    r"^(?:the )?(?:requested )?(?:(?:file|page|path|resource|route|url|endpoint) )?(?:was )?not found\W*$"
    r"|^(?:invalid|unknown) (?:path|route|url)\b|^no (?:such )?route\b|^cannot (?:get|post) /",
    re.IGNORECASE,
)
"""How servers say with a 404 that they have nothing at the address, rather than no such model."""

_BROKEN_GATEWAY_STATUSES = frozenset({502, 520, 521, 522, 523})
"""The server behind a gateway is down or cannot be reached: 502, and Cloudflare's names for it."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """A provider's error body, read as far as it can be."""

    message: str = ""
    codes: frozenset[str] = frozenset()
    """Whatever it gave as `code` and `type`, in lower case."""
    status: int | None = None
    """The status inside the body: some servers report it there, under a 200."""
    is_structured: bool = False
    """Whether it was an `error` object, as an API words it, and no web server on the way."""


def read_complaint(body: bytes) -> Complaint | None:
    """The complaint in a body: an object, a string under `error`, or plain text. None if there is none.

    A JSON body without an error in it is no complaint.
    """
    try:
        parsed: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8", "replace").strip()
        is_page = text[:200].lstrip("\ufeff").lower().startswith(("<!doctype", "<html"))
        return Complaint("" if is_page else text) if text else None
    return complaint_from(parsed)


def complaint_from(parsed: object) -> Complaint | None:
    """As `read_complaint`, of JSON that was read already."""
    if isinstance(parsed, str):
        return Complaint(parsed)
    if not isinstance(parsed, dict):
        return None
    error = parsed.get("error")
    if isinstance(error, dict):
        return replace(_from_object(error), is_structured=True)
    if isinstance(error, str):
        return Complaint(error, _codes(parsed))
    if error is None and "choices" not in parsed and ("message" in parsed or "detail" in parsed):
        return _from_object(parsed)
    return None


def _from_object(error: dict[str, object]) -> Complaint:
    message = error.get("message") or error.get("detail") or error.get("error") or ""
    status = error.get("code") if error.get("code") is not None else error.get("status")
    if isinstance(status, str) and status.isdecimal():
        status = int(status)
    return Complaint(
        message if isinstance(message, str) else orjson.dumps(message).decode(),
        _codes(error),
        status if isinstance(status, int) and 400 <= status <= 599 else None,
    )


def _codes(error: dict[str, object]) -> frozenset[str]:
    """Anthropic's most exact one is under `details`."""
    details = error.get("details")
    exact = details.get("error_code") if isinstance(details, dict) else None
    named = (error.get("code"), error.get("type"), exact)
    return frozenset(value.lower() for value in named if isinstance(value, str))


def classify(
    provider: str,
    status: int,
    complaint: Complaint | None,
    *,
    retry_after_seconds: float | None = None,
) -> ProviderError:
    """The error for an answer of `status`, or for a complaint inside a stream that began with 200.

    What the provider calls it goes before what it says in words, and both before the status: one
    and the same overflow arrives under 200, 400 and 500.
    """
    complaint = complaint or Complaint()
    effective = complaint.status if status < 400 and complaint.status else status
    kind = _by_code(complaint) or _by_words(complaint, effective) or _by_status(effective, is_begun=status < 400)
    error = kind(
        _sentence(kind, status, complaint.message),
        provider=provider,
        status=effective,
        retry_after_seconds=retry_after_seconds,
    )
    if isinstance(error, ContextTooLong):
        error.prompt_tokens, error.context_tokens = context_numbers(complaint.message)
    return error


def _by_code(complaint: Complaint) -> type[ProviderError] | None:
    for codes, kind in (
        (_QUOTA_CODES, ProviderQuotaExhausted),
        (_RATE_CODES, ProviderRateLimited),
        (_OVERLOAD_CODES, ProviderOverloaded),
        (_AUTH_CODES, ProviderAuthFailed),
        (_CONTEXT_CODES, ContextTooLong),
        (_MODEL_CODES, ModelUnavailable),
        # LM Studio gives the same code where nothing is loaded.
        (_NO_MODEL_CODES, ModelUnavailable if _MODEL_NOT_READY.search(complaint.message) else ModelNotFound),
        (_TIMEOUT_CODES, ProviderTimeout),
    ):
        if complaint.codes & codes:
            return kind
    return None


def _by_words(complaint: Complaint, status: int) -> type[ProviderError] | None:
    if status < 500 and _NO_CREDIT.search(complaint.message):
        return ProviderQuotaExhausted
    if status in (401, 402, 403, 429):
        return None  # these say it all, and their sentences speak of limits too
    # A model that did not load for want of memory names the context length it was to be loaded with.
    for words, kind in (
        (_WRONG_ADDRESS, ProviderConnectFailed),
        (_MODEL_NOT_READY, ModelUnavailable),
        (_NO_SUCH_MODEL, ModelNotFound if status < 500 else None),
        (_CONTEXT_OVERFLOW, ContextTooLong),
        (_CRASH, StreamCut),
    ):
        if kind is not None and words.search(complaint.message):
            return kind
    if status == 404 and complaint.is_structured:
        return ProviderConnectFailed if _NO_SUCH_ROUTE.search(complaint.message) else ModelNotFound
    if complaint.codes & _INVALID_CODES and status < 500:
        return ProviderRequestInvalid
    return ProviderFailed if complaint.codes & _FAILED_CODES and status < 400 else None


def _by_status(status: int, *, is_begun: bool) -> type[ProviderError]:
    """`is_begun`: the status was told inside a stream, so the prompt had been taken."""
    exact: dict[int, type[ProviderError]] = {
        401: ProviderAuthFailed,
        402: ProviderQuotaExhausted,
        403: ProviderAuthFailed,
        404: ProviderConnectFailed,
        405: ProviderConnectFailed,
        408: ProviderTimeout,
        413: ContextTooLong,
        429: ProviderRateLimited,
        504: ProviderTimeout,
    }
    if status in exact:
        return exact[status]
    if status >= 500:
        is_out = status in (503, 529) or (status in _BROKEN_GATEWAY_STATUSES and not is_begun)
        return ProviderOverloaded if is_out else ProviderFailed
    if status >= 400:
        return ProviderRequestInvalid
    # A redirect is not followed; a 200 that complains without a class of its own is a broken stream.
    return ProviderConnectFailed if status >= 300 else StreamCut


def _sentence(kind: type[ProviderError], status: int, message: str) -> str:
    if kind is ProviderAuthFailed:
        return f"{kind.sentence} Check its API key."  # its own words may quote the key
    if kind is ProviderConnectFailed:
        return f"What answers at the provider's address (status {status}) is not the API expected there: check its URL."
    sentence = kind.sentence
    if kind is ProviderOverloaded and status in _BROKEN_GATEWAY_STATUSES:
        sentence = "A gateway could not reach the provider, or got nothing sound from it."
    quoted = " ".join(message[: 4 * _MAX_QUOTED_CHARACTERS].split())[:_MAX_QUOTED_CHARACTERS]
    told = f"status {status}" if status >= 300 else "in its stream"
    return f"{sentence} It said ({told}): {quoted}" if quoted else f"{sentence} ({told})"
