"""Tokens and their cost: of one text, and the report of all."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from message_service.api.schemas.fields import Digits, ExternalId, Moment


class UsageShape(BaseModel):
    input_tokens: int = Field(description="The whole prompt, cached or not.")
    output_tokens: int = Field(description="All that was written, reasoning included.")
    is_estimated: bool = Field(description="Counted by us because the provider did not say.")
    cached_input_tokens: int = Field(description="Part of `input_tokens`: read from the provider's prompt cache.")
    cache_write_tokens: int = Field(description="Part of `input_tokens`: written to the provider's prompt cache.")
    reasoning_tokens: int = Field(description="Part of `output_tokens`: thought and not said.")


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
