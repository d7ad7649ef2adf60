"""Who answers when money decides: prices of the table that comes with the service, by the model that would answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from message_service.errors import ProviderRequestInvalid
from message_service.metrics import Metrics
from message_service.providers.provider import Started
from message_service.providers.router import Router
from message_service.providers.routing.run import Route
from message_service.settings import Settings
from message_service.wiring.routing import open_router
from tests.contract.providers.adapters import KEY
from tests.contract.providers.fault_server import CHAT, MODELS, WELL, FaultServer, lm_studio_models, stream_head
from tests.contract.providers.reading import Reading, prompt, read
from tests.contract.providers.wire_events import WHOLE


@asynccontextmanager
async def _router(server: FaultServer, **values: Any) -> AsyncIterator[Router]:
    """gpt-5-mini of OpenAI ($0.25 and $2 a million tokens) first, then claude-haiku-5-5 of Anthropic ($0.10, $0.50)."""
    server.routes = {
        "/v1/responses": [stream_head(), *WHOLE["responses"]],
        "/v1/messages": [stream_head(), *WHOLE["messages"]],
        MODELS: [lm_studio_models(fault=8192)],
        CHAT: WELL,
    }
    vendors: dict[str, Any] = {
        "openai_api_key": KEY,
        "openai_base_url": f"{server.url}/v1",
        "openai_dialect": "responses",
        "openai_model": "gpt-5-mini",
        "anthropic_api_key": KEY,
        "anthropic_base_url": server.url,
        "anthropic_model": "claude-haiku-5-5",
    }
    async with open_router(Settings(_env_file=None, **vendors | values), Metrics()) as router:
        yield router


def _answering(reading: Reading) -> list[str]:
    assert reading.error is None
    return [event.provider for event in reading.events if isinstance(event, Started)]


async def test_cheapest_answers_when_cost_decides_and_the_preferred_one_otherwise(fault_server: FaultServer) -> None:
    async with _router(fault_server) as router:
        assert _answering(await read(router.stream(prompt()))) == ["openai"]
        assert _answering(await read(router.stream(prompt(), Route(strategy="cost")))) == ["anthropic"]
    async with _router(fault_server, anthropic_model="claude-opus-5-5", provider_strategy="cost") as router:
        assert _answering(await read(router.stream(prompt()))) == ["openai"]


async def test_nothing_is_cheaper_than_ones_own_machine(fault_server: FaultServer) -> None:
    last = {"lm_studio_url": fault_server.url, "providers": "openai,anthropic,lm_studio"}
    async with _router(fault_server, provider_strategy="cost", **last) as router:
        assert _answering(await read(router.stream(prompt()))) == ["lm_studio"]


async def test_model_whose_price_nobody_knows_comes_last_when_cost_decides(fault_server: FaultServer) -> None:
    async with _router(fault_server, openai_model="a-model-of-ones-own", provider_strategy="cost") as router:
        assert _answering(await read(router.stream(prompt()))) == ["anthropic"]


async def test_whoever_might_cost_more_than_allowed_is_not_asked(fault_server: FaultServer) -> None:
    dear = prompt(prompt_tokens=1000, max_output_tokens=1000)  # $0.00225 at gpt-5-mini, $0.0006 at claude-haiku-5-5
    async with _router(fault_server, most_usd_per_reply="0.001") as router:
        assert _answering(await read(router.stream(dear))) == ["anthropic"]
        assert _answering(await read(router.stream(prompt(prompt_tokens=10, max_output_tokens=10)))) == ["openai"]
    async with _router(fault_server, most_usd_per_reply="0.0005") as router:
        reading = await read(router.stream(dear))
    assert type(reading.error) is ProviderRequestInvalid
    assert [request.path for request in fault_server.requests] == ["/v1/messages", "/v1/responses"]
