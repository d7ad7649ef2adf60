"""Fields that several shapes share, and how strictly they are read."""

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, StringConstraints

from message_service.ids import EXTERNAL_ID_PATTERN

ExternalId = Annotated[str, StringConstraints(pattern=EXTERNAL_ID_PATTERN)]


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


class Incoming(BaseModel):
    """A body: nothing unknown in it, and nothing turned into what was not sent."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
