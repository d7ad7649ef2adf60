"""The contract of everything that can write a reply."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
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
    prefill: str = ""
    """How the reply begins already: the model goes on from there, and the deltas hold only what it adds.

    A model that cannot do so (`Capabilities.can_prefill`) raises `ProviderRequestInvalid`: dropping this
    would have the beginning written twice.
    """
    prompt_tokens: int
    """Our estimate of instructions and turns together."""
    max_output_tokens: int
    model: str | None = None
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    cache_key: str = ""
    """Opaque, and alike for every prompt of one conversation: where it was seen before, the beginning is cached."""
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
    """What of the prompt was dropped because this model does not take it, one sentence each."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the reply; never empty, always whole characters."""

    text: str
    tokens: int = field(default=1, compare=False)
    """How many of the provider's own pieces it joins; one is a token, about."""


@dataclass(frozen=True, slots=True)
class UsageReported:
    """Token counts from the provider. At most one counts: the last."""

    usage: Usage
    is_final: bool = True
    """False while it writes: the prompt is counted, and more output may follow."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The provider's own end marker. Comes last, once; a stream without it raises `StreamCut`."""

    reason: FinishReason


ProviderEvent = Started | TextDelta | UsageReported | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What one model takes where it runs. None: nobody told."""

    model: str | None = None
    """The model this is about; None where none is ready to answer."""
    context_tokens: int | None = None
    """Prompt and reply together."""
    max_output_tokens: int | None = None
    parallel_replies: int | None = None
    """How many it writes at the same time before it queues them."""
    is_streamed: bool = True
    """Whether text comes while it is written, not all at its end."""
    takes_temperature: bool = True
    takes_stop: bool = True
    can_prefill: bool = False
    """Whether it goes on from `Prompt.prefill`."""
    cache_breakpoints: int = 0
    """Marks for the prompt cache that a request may set. 0: there are none to set; it may cache by itself."""


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

    async def capabilities(self, model: str | None = None) -> Capabilities:
        """Of `model`, or of the one that answers when a prompt names none. Raises `ProviderError`.

        Costs no more than a look at what is remembered for some seconds.
        """
        ...

    async def count_tokens(self, prompt: Prompt) -> int | None:
        """Exact tokens of the prompt, where the vendor counts them for nothing; None elsewhere.

        A round trip: for calibrating estimates, not for each reply. Raises `ProviderError`.
        """
        ...

    async def health(self) -> ProviderHealth: ...

    async def close(self) -> None: ...
