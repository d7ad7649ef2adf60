"""A stored message."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from message_service.api.schemas.usage import UsageShape
from message_service.messages.message import Role
from message_service.messages.reply import FinishReason


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
