"""What a check found, and what it was given to look at."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from message_service.settings import Settings

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`remedy` says what to do; empty when all is well."""

    name: str
    level: Level
    sentence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """URLs are those configured, or those of a running `message-service dev`. None: there is nothing to look at."""

    settings: Settings
    mongodb_url: str | None
    redis_url: str | None

    @property
    def needs_embedded(self) -> bool:
        return self.settings.mongodb_url is None or self.settings.redis_url is None


Check = Callable[[Subject], Awaitable[Sequence[Finding]]]
"""Returns what it found. What it raises becomes a failure of that check; it has 10 s."""
