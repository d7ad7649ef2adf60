"""Routers over real adapters, as tests ask for them."""

import aiohttp

from message_service.providers.lm_studio import LmStudioProvider, lm_studio_providers
from message_service.providers.provider import Provider
from message_service.providers.router import Router, RoutingPolicy
from message_service.providers.routing.breaker import Breaker, BreakerPolicy
from message_service.providers.routing.target import Target
from message_service.providers.scripted import ScriptedProvider
from tests.contract.providers.fault_server import FaultServer

SCRIPTED = ScriptedProvider(tokens_per_second=10_000)


def router_of(*providers: Provider, policy: RoutingPolicy | None = None) -> Router:
    return Router([Target(provider, Breaker(BreakerPolicy())) for provider in providers], policy)


def lm_studios(
    session: aiohttp.ClientSession, *servers: FaultServer, model: str | None = "fault"
) -> tuple[LmStudioProvider, ...]:
    return lm_studio_providers(session, [server.url for server in servers], None, model, 10, 10)
