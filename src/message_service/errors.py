"""Everything that can go wrong, as one tree. It knows neither HTTP nor vendors.

MessageServiceError
├── InvalidRequest ......... MalformedRequest, InvalidCursor, InvalidPosition, ValidationFailed
├── IdentityRefused ........ IdentityMissing, IdentityInvalid, Forbidden
├── NotFound ............... MessageNotFound, ReplyNotFound, DeadLetterNotFound, RouteNotFound
├── Conflict ............... MessageImmutable, MethodNotAllowed, ConversationFull,
│                            IdempotencyInProgress, BudgetsOff, ReplyNotCancellable
├── TooLarge ............... ContentTooLong, BodyTooLarge
├── Unprocessable .......... IdempotencyKeyReused
├── LimitExceeded .......... RateLimited, QuotaExceeded
├── Unavailable ............ Overloaded, StoreUnavailable, RelayUnavailable
├── ClaimLost                another worker owns the reply now: whoever sees this writes nothing
├── ProviderError .......... see the classes below the line "what a provider may do to us"
└── StartRefused ........... InvalidSettings, EmbeddedServerFailed
"""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar


class MessageServiceError(Exception):
    """Root of the tree. `detail` is a sentence for whoever called."""

    sentence: ClassVar[str] = "Something went wrong."
    is_transient: ClassVar[bool] = False
    """Whether the same request may succeed later without being changed."""

    def __init__(self, detail: str | None = None, *, retry_after_seconds: float | None = None) -> None:
        self.detail = detail or self.sentence
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.detail)


# --- what a caller may get wrong ---------------------------------------------------------------


class InvalidRequest(MessageServiceError):
    """The request itself is at fault."""


class MalformedRequest(InvalidRequest):
    sentence = "The request could not be read."


class InvalidCursor(InvalidRequest):
    sentence = "This cursor was not issued for this listing."


class InvalidPosition(InvalidCursor):
    sentence = "This position was not issued by this stream."


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One field that failed validation. `pointer` is an RFC 6901 JSON pointer."""

    pointer: str
    detail: str


class ValidationFailed(InvalidRequest):
    sentence = "Some fields are not acceptable."

    def __init__(self, faults: list[FieldFault], detail: str | None = None) -> None:
        super().__init__(detail)
        self.faults = faults


class IdentityRefused(MessageServiceError):
    """Who asks is unknown or may not."""


class IdentityMissing(IdentityRefused):
    sentence = "The gateway did not say who is asking: X-User-Id is required."


class IdentityInvalid(IdentityRefused):
    sentence = "The identity sent with this request is not acceptable."


class Forbidden(IdentityRefused):
    sentence = "The caller's role does not allow this."


class NotFound(MessageServiceError):
    """It does not exist, or it is someone else's: callers cannot tell the two apart."""


class RouteNotFound(NotFound):
    sentence = "There is nothing at this address. All routes live under /v1."


class MessageNotFound(NotFound):
    sentence = "No such message."


class ReplyNotFound(NotFound):
    sentence = "No such reply."


class DeadLetterNotFound(NotFound):
    sentence = "No reply of that id has failed."


class Conflict(MessageServiceError):
    """The request is sound but what is stored does not allow it."""


class MessageImmutable(Conflict):
    sentence = "Messages are never edited. Delete this one, or post another."


class MethodNotAllowed(Conflict):
    sentence = "This address does not take that method."


class ConversationFull(Conflict):
    sentence = "The conversation has reached its limit of messages."


class IdempotencyInProgress(Conflict):
    sentence = "The first request with this Idempotency-Key is still running."
    is_transient = True


class BudgetsOff(Conflict):
    sentence = "Budgets are off here: MESSAGE_SERVICE_BUDGETS turns them on."


class ReplyNotCancellable(Conflict):
    sentence = "The reply has already ended."


class TooLarge(MessageServiceError):
    """More was sent than is taken."""


class ContentTooLong(TooLarge):
    sentence = "The content is longer than 50,000 characters."


class BodyTooLarge(TooLarge):
    sentence = "The request body is larger than is accepted."


class Unprocessable(MessageServiceError):
    """Understood, and refused."""


class IdempotencyKeyReused(Unprocessable):
    sentence = "This Idempotency-Key was used with another request."


class LimitExceeded(MessageServiceError):
    """The caller has used up an allowance."""

    is_transient = True


class RateLimited(LimitExceeded):
    sentence = "Too many messages in the last minute."

    def __init__(self, *, limit: int, window_seconds: int, retry_after_seconds: float) -> None:
        super().__init__(retry_after_seconds=retry_after_seconds)
        self.limit = limit
        self.window_seconds = window_seconds


class QuotaExceeded(LimitExceeded):
    """`unit` is `tokens` or `cost_nano_usd`, `period` is `day` or `month`; the amounts are in that unit."""

    sentence = "The budget does not allow another reply."

    def __init__(
        self,
        *,
        unit: str,
        period: str,
        limit: int,
        remaining: int,
        wanted: int,
        resets_at: datetime,
        retry_after_seconds: float,
    ) -> None:
        super().__init__(
            f"Of this {period}'s {limit:,} {unit} there are {remaining:,} left, and the reply may need {wanted:,}.",
            retry_after_seconds=retry_after_seconds,
        )
        self.unit = unit
        self.period = period
        self.limit = limit
        self.remaining = remaining
        self.wanted = wanted
        self.resets_at = resets_at


# --- what we may fail to do --------------------------------------------------------------------


class Unavailable(MessageServiceError):
    """Not possible now. The outcome of a write is unknown: repeat it with the same key."""

    is_transient = True


class Overloaded(Unavailable):
    sentence = "Too much work is waiting."


class StoreUnavailable(Unavailable):
    sentence = "The message store cannot be reached."


class RelayUnavailable(Unavailable):
    sentence = "Redis cannot be reached."


class ClaimLost(MessageServiceError):
    sentence = "This reply now belongs to another worker."


# --- what a provider may do to us --------------------------------------------------------------


class ProviderError(MessageServiceError):
    """An attempt at one provider failed.

    `may_retry_elsewhere` says whether another provider could do better; `is_transient` whether this one
    could, later; `is_outage` whether it never took the prompt, so that the failure says nothing about it.
    """

    may_retry_elsewhere: ClassVar[bool] = True
    is_outage: ClassVar[bool] = False
    code: ClassVar[str] = "provider_error"

    def __init__(
        self,
        detail: str | None = None,
        *,
        provider: str,
        status: int | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(detail, retry_after_seconds=retry_after_seconds)
        self.provider = provider
        self.status = status


class NoProviderAvailable(ProviderError):
    sentence = "No provider can answer now."
    code = "no_provider_available"
    is_transient = True
    is_outage = True


class ProviderRateLimited(ProviderError):
    sentence = "The provider asks us to slow down."
    code = "provider_rate_limited"
    is_transient = True
    is_outage = True


class ProviderQuotaExhausted(ProviderError):
    sentence = "The account at the provider has no quota left."
    code = "provider_quota_exhausted"


class ProviderOverloaded(ProviderError):
    sentence = "The provider is overloaded."
    code = "provider_overloaded"
    is_transient = True
    is_outage = True


class ProviderFailed(ProviderError):
    sentence = "The provider broke while it answered."
    code = "provider_failed"
    is_transient = True


class ContextTooLong(ProviderError):
    """`prompt_tokens` and `context_tokens` as the provider counts them, where it tells."""

    sentence = "The prompt does not fit the model's context."
    code = "context_too_long"
    prompt_tokens: int | None = None
    context_tokens: int | None = None


class ProviderAuthFailed(ProviderError):
    sentence = "The provider refused our credentials."
    code = "provider_auth_failed"


class ProviderRequestInvalid(ProviderError):
    sentence = "The provider did not accept the request."
    code = "provider_request_invalid"
    may_retry_elsewhere = False


class ModelUnavailable(ProviderError):
    sentence = "The provider does not have this model ready."
    code = "model_unavailable"
    is_transient = True
    is_outage = True


class ModelNotFound(ProviderError):
    """Of a model that is only not loaded yet this is not said: see `ModelUnavailable`."""

    sentence = "The provider has no model of this name."
    code = "model_not_found"


class ProviderTimeout(ProviderError):
    sentence = "The provider did not answer in time."
    code = "provider_timeout"
    is_transient = True


class ProviderConnectFailed(ProviderError):
    sentence = "The provider cannot be reached."
    code = "provider_connect_failed"
    is_transient = True
    is_outage = True


class StreamCut(ProviderError):
    sentence = "The provider's stream ended without its end marker."
    code = "provider_stream_cut"
    is_transient = True


class EmptyResponse(ProviderError):
    sentence = "The provider ended its stream without any text."
    code = "provider_empty_response"
    is_transient = True


class OutputSpentOnReasoning(ProviderError):
    """It was paid for, and would be again: a model that does not reason, or less, may do better."""

    sentence = "The model spent all its output tokens on reasoning: allow more, or turn its reasoning off."
    code = "output_spent_on_reasoning"


# --- what stops a start ------------------------------------------------------------------------


class StartRefused(MessageServiceError):
    """The process cannot start as it is configured. `detail` says what to do."""


class InvalidSettings(StartRefused):
    sentence = "A setting is not acceptable."


class EmbeddedServerFailed(StartRefused):
    sentence = "An embedded server did not start."
