"""The enabled providers as targets of the router: where each runs, its price, its tier and its breaker."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import blake2b
from typing import TypeVar
from urllib.parse import urlsplit

from aiohttp import ClientSession

from message_service.clock import now
from message_service.metered.router import MeteredRouter
from message_service.metrics import Metrics
from message_service.providers import anthropic, openai
from message_service.providers.connections import provider_session
from message_service.providers.provider import Prompt, Provider
from message_service.providers.router import RoutingPolicy
from message_service.providers.routing.breaker import Breaker, BreakerPolicy
from message_service.providers.routing.failover import FailoverPolicy
from message_service.providers.routing.target import PriceOf, Target, family_of
from message_service.setting_types import ProviderName
from message_service.settings import Settings
from message_service.usage.prices import PriceTable, load_prices
from message_service.wiring.providers import providers_of

_LAST_TIER = 9
_LOCAL_LOOK_SECONDS = 10.0
_CLOUD_LOOK_SECONDS = 60.0
_Number = TypeVar("_Number", int, float)


@asynccontextmanager
async def open_router(settings: Settings, metrics: Metrics) -> AsyncIterator[MeteredRouter]:
    """The enabled providers as one, for a process that is no worker: it shares no breakers."""
    async with open_targets(settings, load_prices()) as targets:
        yield MeteredRouter(targets, routing_policy(settings), metrics=metrics)


@asynccontextmanager
async def open_targets(settings: Settings, prices: PriceTable) -> AsyncIterator[tuple[Target, ...]]:
    """The enabled providers, in order of preference, on one HTTP client; closed at the end."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(provider_session())
        targets = [
            target for name in settings.enabled_providers for target in _targets(name, settings, session, prices)
        ]
        for target in targets:
            stack.push_async_callback(target.provider.close)
        yield tuple(targets)


def _targets(name: ProviderName, settings: Settings, session: ClientSession, prices: PriceTable) -> list[Target]:
    providers = providers_of(name, settings, session)
    model = getattr(settings, f"{name}_model", None)
    price = _price_of(name, model, prices)
    match name:
        case "lm_studio":
            places, key = settings.lm_studio_url, settings.lm_studio_api_key
        case "openai":
            places, key = (settings.openai_base_url or openai.URL,), settings.openai_api_key
        case "anthropic":
            places, key = (settings.anthropic_base_url or anthropic.URL,), settings.anthropic_api_key
        case "scripted":
            # Its failures are asked for by messages, and nobody's message may close it to others.
            usual_tier = 1 if settings.enabled_providers[0] == name else _LAST_TIER
            tier = settings.provider_tiers.get(name, usual_tier)
            return [Target(provider, tier=tier, price=price) for provider in providers]
    access = [key.get_secret_value() if key else "", model]
    return [_target(settings, provider, url, access, price) for provider, url in zip(providers, places, strict=True)]


def _price_of(name: ProviderName, model: str | None, prices: PriceTable) -> PriceOf:
    """By the table that also reckons what replies have cost. `model` answers when a prompt names none."""

    def price(prompt: Prompt) -> float | None:
        cost_nano_usd = prices.most_nano_usd(
            name, prompt.model or model, prompt.prompt_tokens, prompt.max_output_tokens, now()
        )
        return None if cost_nano_usd is None else cost_nano_usd / 1e9

    return price


def _target(settings: Settings, provider: Provider, url: str, access: list[str | None], price: PriceOf) -> Target:
    """A provider that can fail, with what the settings say of it by its name or its family's."""
    weight, tier = _of(provider, settings.provider_weights), _of(provider, settings.provider_tiers)
    return Target(
        provider,
        Breaker(
            BreakerPolicy(failures_in_a_row=settings.breaker_failures, first_open_seconds=settings.breaker_open_seconds)
        ),
        host=urlsplit(url).netloc.rpartition("@")[2],
        # With another address, key or model it is another target: what went wrong with the old one is forgotten.
        identity=f"{provider.name}:{blake2b(repr([url, *access]).encode(), digest_size=6).hexdigest()}",
        tier=1 if tier is None else tier,
        weight=1 if weight is None else weight,
        most_in_flight=_of(provider, settings.provider_concurrency),
        price=price,
        look_seconds=_LOCAL_LOOK_SECONDS if family_of(provider.name) == "lm_studio" else _CLOUD_LOOK_SECONDS,
    )


def _of(provider: Provider, numbers: dict[str, _Number]) -> _Number | None:
    """What is set for an instance, else for its family."""
    return numbers.get(provider.name, numbers.get(family_of(provider.name)))


def routing_policy(settings: Settings) -> RoutingPolicy:
    """How a provider is chosen, and what becomes of a reply that one broke off."""
    return RoutingPolicy(
        strategy=settings.provider_strategy,
        failover=FailoverPolicy(midstream=settings.midstream_policy),
        most_dollars=None if settings.most_usd_per_reply is None else float(settings.most_usd_per_reply),
    )
