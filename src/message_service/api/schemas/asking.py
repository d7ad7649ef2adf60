"""What is posted: a message, and how to answer it."""

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from message_service.api.schemas.fields import ExternalId, Incoming
from message_service.messages.message import (
    MAX_METADATA_KEY_CHARACTERS,
    MAX_METADATA_PAIRS,
    MAX_METADATA_VALUE_CHARACTERS,
    Role,
)
from message_service.setting_types import StrategyName

MAX_INSTRUCTIONS_CHARACTERS = 20_000

OwnId = Annotated[str, StringConstraints(pattern=r"^msg_[0-9A-HJKMNP-TV-Z]{26}$")]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=MAX_METADATA_KEY_CHARACTERS)],
        Annotated[str, StringConstraints(max_length=MAX_METADATA_VALUE_CHARACTERS)],
    ],
    Field(max_length=MAX_METADATA_PAIRS),
]


class ReplyRequest(Incoming):
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


class CreateMessage(Incoming):
    conversation_id: ExternalId
    content: str = Field(description="1 to 50,000 characters (Unicode code points).")
    role: Role = Field(Role.USER, description="`assistant` is for callers with the role `service`.")
    character_id: ExternalId | None = None
    parent_id: OwnId | None = Field(
        None, description="The message this one follows. Unset: the newest on the conversation's current path."
    )
    metadata: Metadata = Field({})
    reply: ReplyRequest | None = Field(None, description="Ask for a reply. Unset: the message is only stored.")

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"conversation_id": "conv-1", "content": "Hello!", "reply": {}}]}
    )
