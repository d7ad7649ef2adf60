"""What comes over the wire in, checked, and the shapes of what goes out, for the OpenAPI document."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from message_service.ids import EXTERNAL_ID_PATTERN
from message_service.messages.dead_letter import DeadLetterState
from message_service.messages.message import (
    MAX_METADATA_KEY_CHARACTERS,
    MAX_METADATA_PAIRS,
    MAX_METADATA_VALUE_CHARACTERS,
    Role,
)
from message_service.messages.reply import FinishReason, ReplyStatus, WorkKind
from message_service.settings import StrategyName

MAX_INSTRUCTIONS_CHARACTERS = 20_000

ExternalId = Annotated[str, StringConstraints(pattern=EXTERNAL_ID_PATTERN)]
OwnId = Annotated[str, StringConstraints(pattern=r"^msg_[0-9A-HJKMNP-TV-Z]{26}$")]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=MAX_METADATA_KEY_CHARACTERS)],
        Annotated[str, StringConstraints(max_length=MAX_METADATA_VALUE_CHARACTERS)],
    ],
    Field(max_length=MAX_METADATA_PAIRS),
]


class _Incoming(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ReplyRequest(_Incoming):
    """How to answer. `{}` for the defaults."""

    instructions: str | None = Field(
        None, max_length=MAX_INSTRUCTIONS_CHARACTERS, description="Who answers and how: put first, never cut."
    )
    model: str | None = Field(None, min_length=1, max_length=200)
    provider: str | None = Field(None, min_length=1, max_length=64)
    strategy: StrategyName | None = Field(
        None, description="How a provider is chosen. Unset: as the service is configured."
    )
    temperature: float | None = Field(None, ge=0, le=2)
    max_output_tokens: int | None = Field(None, ge=1, le=200_000)
    stop: list[Annotated[str, StringConstraints(min_length=1, max_length=64)]] | None = Field(None, max_length=4)

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"instructions": "You are Ada, who keeps the lighthouse.", "temperature": 0.8}]}
    )


class CreateMessage(_Incoming):
    conversation_id: ExternalId
    content: str = Field(description="1 to 50,000 characters (Unicode code points).")
    role: Role = Field(Role.USER, description="`assistant` is for callers with the role `service`.")
    character_id: ExternalId | None = None
    parent_id: OwnId | None = Field(
        None, description="The message this one follows. Unset: the newest on the conversation's current path."
    )
    metadata: Metadata = {}
    reply: ReplyRequest | None = Field(None, description="Ask for a reply. Unset: the message is only stored.")

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"conversation_id": "conv-1", "content": "Hello!", "reply": {}}]}
    )


def _plain_digits(text: object) -> object:
    """Without what `int` also takes: spaces, signs, underscores, other scripts' digits."""
    if isinstance(text, str) and not (text.isascii() and text.isdigit()):
        raise ValueError("must be a number in plain digits")
    return text


def _dated(text: object) -> object:
    """Without what Pydantic also takes: a bare number as seconds since 1970."""
    if isinstance(text, str) and "-" not in text:
        raise ValueError("must be a date and time as in RFC 3339")
    return text


Digits = Annotated[int, BeforeValidator(_plain_digits)]
Moment = Annotated[AwareDatetime, BeforeValidator(_dated)]


class PageQuery(BaseModel):
    """Query parameters of a page. `metadata.<key>=<value>` filters besides."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    conversation_id: ExternalId
    limit: Digits = Field(50, ge=1, le=100)
    order: Literal["asc", "desc"] = Field("desc", description="By `seq`.")
    before: str | None = Field(None, max_length=64, description="Only what comes before this message id or cursor.")
    after: str | None = Field(None, max_length=64, description="Only what comes after this message id or cursor.")
    around: str | None = Field(None, max_length=64, description="This message id or cursor in the middle.")
    role: Role | None = None
    character_id: ExternalId | None = None
    since: Moment | None = Field(None, description="Created then or later.")
    until: Moment | None = Field(None, description="Created before then.")
    include: Literal["deleted"] | None = None


class UsageShape(BaseModel):
    input_tokens: int = Field(description="The whole prompt, cached or not.")
    output_tokens: int = Field(description="All that was written, reasoning included.")
    is_estimated: bool = Field(description="Counted by us because the provider did not say.")
    cached_input_tokens: int = Field(description="Part of `input_tokens`: read from the provider's prompt cache.")
    cache_write_tokens: int = Field(description="Part of `input_tokens`: written to the provider's prompt cache.")
    reasoning_tokens: int = Field(description="Part of `output_tokens`: thought and not said.")


_Limit = Annotated[int, Field(ge=0, le=10**18)]


class SetLimits(_Incoming):
    """What a user may use. Null: as much as they like."""

    tokens_per_day: _Limit | None = None
    tokens_per_month: _Limit | None = None
    cost_nano_usd_per_day: _Limit | None = Field(None, description="In nanodollars: 10^-9 USD.")
    cost_nano_usd_per_month: _Limit | None = None

    model_config = ConfigDict(json_schema_extra={"examples": [{"tokens_per_day": 200_000}]})


class AmountShape(BaseModel):
    tokens: int
    cost_nano_usd: int


class SpanShape(BaseModel):
    name: str = Field(description="`2026-11-25` or `2026-11`.")
    used: AmountShape
    reserved: AmountShape = Field(description="Set aside for replies that have not ended.")
    resets_at: datetime


class BudgetShape(BaseModel):
    user_id: str
    is_own: bool = Field(description="Whether `limits` were set for this user, or are everybody's.")
    limits: SetLimits
    day: SpanShape
    month: SpanShape


class UsagePageQuery(BaseModel):
    """Query parameters of the usage report."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    group_by: str | None = Field(
        None,
        max_length=100,
        description="Any of `user`, `conversation`, `character`, `model`, `provider`, and `hour` or `day` (UTC); "
        "comma-separated.",
    )
    since: Moment | None = Field(None, description="Booked then or later. Unset: 30 days before `until`.")
    until: Moment | None = Field(
        None, description="Booked before then. Unset: now. At most 366 days after `since`, 31 by the hour."
    )
    user_id: ExternalId | None = Field(None, description="Whose. Unset: the caller's. For admins.")
    all_users: bool = Field(False, description="Everybody's. For admins.")
    limit: Digits = Field(100, ge=1, le=1000)
    after: str | None = Field(None, max_length=2000, description="The `next_cursor` of the page before.")


class UsageRowShape(BaseModel):
    user_id: str | None = None
    conversation_id: str | None = None
    character_id: str | None = None
    model: str | None = None
    provider: str | None = None
    hour: datetime | None = Field(None, description="Its beginning.")
    day: datetime | None = Field(None, description="Its beginning.")
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    estimated_tokens: int = Field(description="Part of `total_tokens`: counted by us because nobody reported them.")
    attempts: int = Field(description="Requests that a provider took, whatever became of them.")
    unpriced_attempts: int = Field(description="Those whose price is not known; `cost_nano_usd` lacks them.")
    cost_nano_usd: int = Field(description="In nanodollars: 10^-9 USD.")


class UsagePageShape(BaseModel):
    object: Literal["list"]
    since: datetime
    until: datetime
    data: list[UsageRowShape]
    has_more: bool
    next_cursor: str | None = None


class MessageShape(BaseModel):
    id: str
    object: Literal["message"]
    conversation_id: str
    seq: int = Field(description="Dense and strictly rising in its conversation. Order is by it, never by time.")
    parent_id: str | None = None
    user_id: str
    character_id: str | None = None
    role: Role
    content: str
    metadata: dict[str, str]
    reply_to: str | None = None
    provider: str | None = None
    model: str | None = None
    finish_reason: FinishReason | None = None
    usage: UsageShape | None = None
    created_at: datetime
    deleted_at: datetime | None = None


class AttemptShape(BaseModel):
    """One provider asked once, whatever came of it."""

    provider: str
    host: str | None = Field(None, description="Where it runs, as host and port.")
    model: str | None = None
    started_at: datetime
    first_token_at: datetime | None = None
    ended_at: datetime
    usage: UsageShape | None = None
    cost_nano_usd: int | None = Field(None, description="Unset: the price is not known, or nothing was used.")
    error: str | None = Field(None, description="What ended it, if that was not the end of its text.")


class ReplyErrorShape(BaseModel):
    code: str
    detail: str


class ReplyShape(BaseModel):
    id: str = Field(description="Becomes the id of the assistant message it ends in.")
    object: Literal["reply"]
    status: ReplyStatus
    message_id: str = Field(description="The user message it answers.")
    conversation_id: str
    stream_url: str
    position: int | None = Field(None, description="Replies that come before this one; falls to 0.")
    attempts: int
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    provider: str | None = None
    model: str | None = None
    finish_reason: FinishReason | None = None
    usage: UsageShape | None = None
    error: ReplyErrorShape | None = None
    partial_text: str | None = Field(None, description="The text so far, while it runs.")
    message: MessageShape | None = Field(None, description="The stored text, when it is done.")
    attempt_log: list[AttemptShape] | None = Field(
        None, description="The last 20 attempts at providers, oldest first; in `GET /v1/replies/{id}`."
    )


class AcceptedShape(BaseModel):
    message: MessageShape
    reply: ReplyShape | None


class PageShape(BaseModel):
    object: Literal["list"]
    data: list[MessageShape]
    has_more: bool
    next_cursor: str | None = None
    prev_cursor: str | None = None
    active_replies: list[ReplyShape]


class RepliesShape(BaseModel):
    object: Literal["list"]
    data: list[ReplyShape]


class DeadLetterQuery(BaseModel):
    """Query parameters of a listing of failed replies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Digits = Field(50, ge=1, le=100)
    cursor: str | None = Field(None, max_length=64, description="`next_cursor` of the page before.")
    state: Literal["open", "retried", "dropped"] = Field("open", description="Which.")
    user_id: ExternalId | None = None
    code: str | None = Field(None, max_length=64, description="Only those that failed with this code.")


class DeadLetterShape(BaseModel):
    id: str = Field(description="The id of the reply that failed.")
    object: Literal["dead_letter"]
    state: DeadLetterState
    message_id: str = Field(description="The user message it was to answer.")
    user_id: str
    conversation_id: str
    kind: WorkKind
    error: ReplyErrorShape
    attempts: int
    asked_at: datetime
    failed_at: datetime
    retried_as: str | None = Field(None, description="The reply that retries it.")


class DeadLettersShape(BaseModel):
    object: Literal["list"]
    data: list[DeadLetterShape]
    has_more: bool
    next_cursor: str | None = None


class FieldFaultShape(BaseModel):
    pointer: str
    detail: str


class QuotaShape(BaseModel):
    """Which budget does not allow it. Amounts are in `unit`."""

    unit: Literal["tokens", "cost_nano_usd"]
    period: Literal["day", "month"]
    limit: int
    remaining: int
    wanted: int = Field(description="What the reply may need.")
    resets_at: datetime


class ProblemShape(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    retryable: bool
    errors: list[FieldFaultShape] | None = None
    quota: QuotaShape | None = Field(None, description="With `quota_exceeded`.")


class ProviderShape(BaseModel):
    """One instance of a provider, in the eyes of all workers together."""

    provider: str
    host: str | None = None
    tier: int = Field(description="Lower ones are asked first.")
    breaker: Literal["closed", "half_open", "open"] = Field(description="`open`: left alone for a while.")
    reason: str | None = Field(None, description="Code of the error that opened it.")
    retry_after_seconds: float | None = Field(None, description="Until it is asked again.")
    in_flight: int = Field(description="Replies asked of it now.")
    most_in_flight: int | None = None
    first_token_seconds: float | None = Field(None, description="Moving average of the time to the first token.")
    is_reachable: bool | None = Field(None, description="Unset: nobody has looked yet.")
    models: list[str] = Field(description="Ready to answer.")
    context_tokens: int | None = None
    detail: str


class ProvidersShape(BaseModel):
    object: Literal["list"]
    data: list[ProviderShape]
    workers: int = Field(description="Workers that told of their providers within the last ten seconds.")
    detail: str | None = Field(None, description="Why `data` is empty.")


class DependencyShape(BaseModel):
    status: Literal["ok", "down"]
    latency_ms: float | None = None
    detail: str | None = None


class QueueShape(BaseModel):
    status: Literal["ok", "full", "unknown"]
    waiting: int
    most_waiting: int


class ReadyShape(BaseModel):
    status: Literal["ready", "degraded", "overloaded", "unavailable"]
    detail: str
    dependencies: dict[str, DependencyShape]
    queue: QueueShape
