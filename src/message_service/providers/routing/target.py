"""One place where replies are written, and how it has been doing: a provider's instance with its breaker and load."""

import asyncio
import re
from collections.abc import Callable

from message_service.errors import ProviderError
from message_service.providers.provider import Capabilities, Prompt, Provider, ProviderHealth
from message_service.providers.routing.adaptive_limit import AdaptiveLimit
from message_service.providers.routing.breaker import Admission, Breaker
from message_service.providers.routing.candidate import Candidate

_NEWEST_SHARE = 0.3
"""Weight of the newest time to a first token in the moving average."""
_FAILURE_COUNTS_AS_SECONDS = 5.0
"""A target that fails fast would look like the fastest of all."""
_INSTANCE = re.compile(r"-[0-9]+$")

PriceOf = Callable[[Prompt], float | None]
"""US dollars that a prompt costs if all output it may have is used. None: the price is not known."""


class Target:
    """What the router knows of a provider's instance. `breaker` None: it is never left alone."""

    def __init__(
        self,
        provider: Provider,
        breaker: Breaker | None = None,
        *,
        host: str | None = None,
        identity: str = "",
        tier: int = 1,
        weight: float = 1,
        most_in_flight: int | None = None,
        price: PriceOf | None = None,
        look_seconds: float = 10,
    ) -> None:
        self.provider = provider
        self.breaker = breaker
        self.host = host
        self.identity = identity or provider.name
        """Names it among workers; differs where they reach another place, or with another key."""
        self.tier = tier
        self.weight = weight
        self._most_in_flight = most_in_flight
        self.learnt = AdaptiveLimit()
        self._price = price
        self.look_seconds = look_seconds
        """How often it is asked how it is."""
        self.in_flight = 0
        self.first_token_seconds: float | None = None
        self.capabilities: Capabilities | None = None
        self.health: ProviderHealth | None = None
        self.is_probing = False
        self.not_probed_before = 0.0
        """Another worker is finding out whether it is well; it is not asked about that again until then."""

    @property
    def name(self) -> str:
        return self.provider.name

    @property
    def family(self) -> str:
        return family_of(self.name)

    def most_in_flight(self, at: float) -> int | None:
        """As configured; else what the server was loaded for, so that the queue is ours and not the server's.

        Less after the target has said that it is too much.
        """
        told = self.capabilities.parallel_replies if self.capabilities else None
        set_here = told if self._most_in_flight is None else self._most_in_flight
        return min((most for most in (set_here, self.learnt.most_in_flight(at)) if most is not None), default=None)

    def admission(self, at: float) -> Admission:
        return Admission.PASS if self.breaker is None else self.breaker.admission(at)

    def candidate(self, prompt: Prompt, at: float) -> Candidate:
        return Candidate(
            name=self.name,
            family=self.family,
            tier=self.tier,
            weight=self.weight,
            in_flight=self.in_flight,
            most_in_flight=self.most_in_flight(at),
            first_token_seconds=self.first_token_seconds,
            price=self.price_of(prompt),
        )

    def price_of(self, prompt: Prompt) -> float | None:
        """Dollars; see `PriceOf`."""
        return None if self._price is None else self._price(prompt)

    def took(self, seconds: float) -> None:
        """The first token came after so long."""
        was = self.first_token_seconds
        self.first_token_seconds = seconds if was is None else was + _NEWEST_SHARE * (seconds - was)

    def disappointed(self) -> None:
        self.took(max(_FAILURE_COUNTS_AS_SECONDS, self.first_token_seconds or 0))

    async def look(self, *, timeout_seconds: float) -> None:
        """Ask it how it is, without asking for text."""
        try:
            async with asyncio.timeout(timeout_seconds):
                self.health = await self.provider.health()
                self.capabilities = await self.provider.capabilities()
        except ProviderError:
            return
        except TimeoutError:
            detail = f"It did not say how it is within {timeout_seconds:g} s."
            self.health = ProviderHealth(provider=self.name, is_reachable=False, detail=detail)


def family_of(name: str) -> str:
    """`lm_studio-2` is an instance of `lm_studio`."""
    return _INSTANCE.sub("", name)
