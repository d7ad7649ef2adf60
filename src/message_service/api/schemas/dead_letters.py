"""Replies that failed for good."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from message_service.api.schemas.fields import Digits, ExternalId
from message_service.api.schemas.replies import ReplyErrorShape
from message_service.messages.dead_letter import DeadLetterState
from message_service.messages.reply import WorkKind


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
