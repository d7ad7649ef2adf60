"""The contract of everything that can write a reply."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from message_service.messages.message import Role
from message_service.messages.reply import FinishReason, Usage


@dataclass(frozen=True, slots=True)
class Turn:
    """One message as a model sees it."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What a provider is asked, in no vendor's terms."""

    instructions: str | None
    turns: tuple[Turn, ...]
    """Oldest first; the last one is the message to answer."""
    prompt_tokens: int
    """Our estimate of instructions and turns together."""
    max_output_tokens: int
    model: str | None = None
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    attempt_id: str = ""
    """Names this attempt at the provider, for its logs and ours."""
    attempt: int = 1
    """Which attempt at the reply this is, from 1; those are counted too that met an outage."""


@dataclass(frozen=True, slots=True)
class Started:
    """The provider accepted the prompt. Comes first, once."""

    provider: str
    model: str
    warnings: tuple[str, ...] = ()
    """What of the prompt was dropped because this provider does not take it."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the reply; never empty, always whole characters."""

    text: str


@dataclass(frozen=True, slots=True)
class UsageReported:
    """Token counts from the provider. At most one counts: the last."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Finished:
    """The provider's own end marker. Comes last, once; a stream without it raises `StreamCut`."""

    reason: FinishReason


ProviderEvent = Started | TextDelta | UsageReported | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderHealth:
    """What a look at the provider found, without asking it for text."""

    provider: str
    is_reachable: bool
    models: tuple[str, ...] = ()
    """Models ready to answer now."""
    context_tokens: int | None = None
    """Smallest context any of them was loaded with, where the provider tells."""
    latency_seconds: float | None = None
    detail: str = ""
    """One sentence for people: what is wrong and what to do."""


class Provider(Protocol):
    """Writes replies.

    `stream` yields `Started`, then deltas and usage, then exactly one `Finished`; anything else ends
    in a `ProviderError`, and no foreign exception leaves it. Closing the iterator closes the
    connection at once, which is how a reply is cancelled.
    """

    @property
    def name(self) -> str: ...

    def stream(self, prompt: Prompt) -> AsyncGenerator[ProviderEvent, None]: ...

    async def health(self) -> ProviderHealth: ...

    async def close(self) -> None: ...
