"""What the events of a reply's stream carry as `data`."""

from collections.abc import Mapping

from pydantic import BaseModel, Field

from message_service.api.schemas.problems import ProblemShape
from message_service.api.schemas.replies import ReplyShape
from message_service.api.schemas.usage import UsageShape


class QueuedEvent(BaseModel):
    position: int = Field(description="Replies that come before this one.")


class StartedEvent(BaseModel):
    """A provider took the prompt."""

    provider: str
    model: str
    attempt: int = Field(description="How often a worker has taken the reply, this time included.")


class DeltaEvent(BaseModel):
    text: str = Field(description="Goes behind the text so far.")


class ResetEvent(BaseModel):
    """Forget the text so far: it begins again."""

    reason: str


class SwitchedEvent(BaseModel):
    """Another provider takes over."""

    from_: str = Field(alias="from")
    to: str
    reason: str = Field(description="Code of the error that led to it.")


EVENTS: Mapping[str, type[BaseModel]] = {
    "reply.queued": QueuedEvent,
    "reply.started": StartedEvent,
    "reply.delta": DeltaEvent,
    "reply.reset": ResetEvent,
    "provider.switched": SwitchedEvent,
    "usage": UsageShape,
    "reply.completed": ReplyShape,
    "reply.incomplete": ReplyShape,
    "reply.cancelled": ReplyShape,
    "reply.blocked": ReplyShape,
    "reply.failed": ProblemShape,
}
"""By the name in the event's `event` field."""
