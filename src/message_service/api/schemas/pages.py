"""A page of history: what it is asked by, and what it holds."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from message_service.api.schemas.fields import Digits, ExternalId, Moment
from message_service.api.schemas.messages import MessageShape
from message_service.api.schemas.replies import ReplyShape
from message_service.messages.message import Role


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


class PageShape(BaseModel):
    object: Literal["list"]
    data: list[MessageShape]
    has_more: bool
    next_cursor: str | None = None
    prev_cursor: str | None = None
    active_replies: list[ReplyShape]
