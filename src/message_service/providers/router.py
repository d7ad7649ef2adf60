"""Which provider answers: in order of preference, and on to the next while nothing has been shown."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from message_service.errors import ProviderError, ProviderRequestInvalid
from message_service.providers.provider import Prompt, Provider, ProviderEvent, ProviderHealth, TextDelta


@dataclass(frozen=True, slots=True)
class Switched:
    """Another provider takes over, before any text was shown. `reason` is the code of the error that led to it."""

    from_provider: str
    to_provider: str
    reason: str


class Router:
    """Several providers as one, in order of preference."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        if not providers:
            raise ValueError("a router needs at least one provider")
        self._providers = tuple(providers)

    async def stream(
        self, prompt: Prompt, *, provider: str | None = None
    ) -> AsyncGenerator[ProviderEvent | Switched, None]:
        """As `Provider.stream`, with a `Switched` and another `Started` for each provider that failed in time.

        `provider` names the only one to ask, or a family of them. Once text was shown, an error passes on;
        when all have failed, the most telling error is raised.
        """
        candidates = self._candidates(provider)
        failures: list[ProviderError] = []
        for position, candidate in enumerate(candidates):
            if failures:
                yield Switched(candidates[position - 1].name, candidate.name, failures[-1].code)
            has_shown_text = False
            try:
                async with aclosing(candidate.stream(prompt)) as events:
                    async for event in events:
                        has_shown_text = has_shown_text or isinstance(event, TextDelta)
                        yield event
                return
            except ProviderError as fault:
                if has_shown_text or not fault.may_retry_elsewhere:
                    raise
                failures.append(fault)
        raise most_telling(failures)

    async def health(self) -> tuple[ProviderHealth, ...]:
        """Of every provider, in order of preference."""
        return tuple(await asyncio.gather(*(provider.health() for provider in self._providers)))

    async def close(self) -> None:
        await asyncio.gather(*(provider.close() for provider in self._providers))

    def _candidates(self, asked: str | None) -> Sequence[Provider]:
        if asked is None:
            return self._providers
        wanted = [provider for provider in self._providers if is_of_family(provider.name, asked)]
        if not wanted:
            names = ", ".join(provider.name for provider in self._providers)
            raise ProviderRequestInvalid(f"There is no provider {asked!r}; there are {names}.", provider=asked)
        return wanted


def is_of_family(name: str, asked: str) -> bool:
    """Whether `name` is `asked`, or one of its further instances: `lm_studio-2` is of the family `lm_studio`."""
    return re.fullmatch(rf"{re.escape(asked)}(-[0-9]+)?", name) is not None


def most_telling(failures: Sequence[ProviderError]) -> ProviderError:
    """The error to report when all have failed: one that may pass, and among those the one that passes first.

    One that says when goes before those that do not: retrying before then would only use up attempts.
    """
    return min(
        failures,
        key=lambda fault: (not fault.is_transient, fault.retry_after_seconds is None, fault.retry_after_seconds or 0),
    )
