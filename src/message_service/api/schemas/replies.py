"""A reply, and the attempts at it."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from message_service.api.schemas.messages import MessageShape
from message_service.api.schemas.usage import UsageShape
from message_service.messages.reply import FinishReason, ReplyStatus


class AttemptShape(BaseModel):
    """One provider asked once, whatever came of it."""

    provider: str = Field(description="`unknown` where its worker died before that was noted.")
    host: str | None = Field(None, description="Where it runs, as host and port.")
    model: str | None = None
    started_at: datetime
    first_token_at: datetime | None = None
    ended_at: datetime
    usage: UsageShape | None = None
    cost_nano_usd: int | None = Field(None, description="Unset: the price is not known, or nothing was used.")
    error: str | None = Field(
        None,
        description="What ended it, if that was not the end of its text. `worker_died`: our worker, so tokens are "
        "estimated.",
    )
    warnings: list[str] | None = Field(
        None,
        description="What was asked for and not done, one sentence each: a parameter that the model does not take, "
        "or another model that answered.",
    )


class ReplyErrorShape(BaseModel):
    code: str = Field(
        description="`deadline_exceeded`, `too_many_attempts`, `context_too_long`, `model_not_found`, "
        "`model_unavailable`, `output_spent_on_reasoning`, or `provider_` and what went wrong there."
    )
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


class RepliesShape(BaseModel):
    object: Literal["list"]
    data: list[ReplyShape]
