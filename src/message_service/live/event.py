"""What happens to a reply while somebody watches, and where in the stream it happens. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

from message_service.errors import InvalidPosition
from message_service.messages.reply import Usage

_STEPS = 8
_POSITION = re.compile(r"(0|[1-9][0-9]{0,14})-(0|[1-9][0-9]{0,14})")


class Step(IntEnum):
    """Orders events that happen at the same character of the text."""

    RESET = 0
    SWITCHED = 1
    STARTED = 2
    TEXT = 3
    USAGE = 4
    TAKEN_OVER = 5
    """Another provider goes on after this character, in the same take."""
    RESUMED = 6
    END = 7


class Position(NamedTuple):
    """Exactly how far a watcher is. It means the same on every process, for ever.

    `take` numbers the beginnings of the text: it rises when a claim or a failover starts the text anew,
    so text of different takes never mixes. `characters` of the take's text (code points) have been seen.
    """

    take: int
    characters: int
    step: int

    def __str__(self) -> str:
        """As in an SSE `id`, and as a Redis stream entry id: Redis itself refuses what a stale worker appends."""
        return f"{self.take}-{self.characters * _STEPS + self.step}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Raises `InvalidPosition`."""
        match = _POSITION.fullmatch(text)
        if match is None:
            raise InvalidPosition
        characters, step = divmod(int(match[2]), _STEPS)
        return cls(int(match[1]), characters, step)


START = Position(0, 0, 0)
QUEUED = Position(0, 0, Step.STARTED)


@dataclass(frozen=True, slots=True)
class Queued:
    position: int
    """Replies that come before this one: of its conversation, and of others once it is the next there."""


@dataclass(frozen=True, slots=True)
class Began:
    """A provider took the prompt."""

    provider: str
    model: str
    attempt: int
    host: str | None = None
    started_at: datetime | None = None
    """When it was asked. This and what follows is not for watchers, but for whoever books what a dead worker used."""
    input_tokens: int = 0
    """Estimate of the prompt."""


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Reset:
    """Forget the text so far: it begins again."""

    reason: str


@dataclass(frozen=True, slots=True)
class ProviderSwitched:
    from_provider: str
    to_provider: str
    reason: str


@dataclass(frozen=True, slots=True)
class Counted:
    usage: Usage


@dataclass(frozen=True, slots=True)
class Ended:
    """The reply has reached its terminal state, which the store knows."""


LiveEvent = Queued | Began | Text | Reset | ProviderSwitched | Counted | Ended


@dataclass(frozen=True, slots=True)
class Placed:
    """An event and the position a watcher has reached with it."""

    position: Position
    event: LiveEvent
