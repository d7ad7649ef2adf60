"""What settings alone make of providers: their order, their addresses, and who answers when one fails."""

from typing import Any

import pytest

from message_service.metrics import Metrics
from message_service.providers.provider import TextDelta
from message_service.settings import Settings
from message_service.usage.prices import load_prices
from message_service.wiring.routing import open_router, open_targets
from tests.contract.providers.adapters import KEY
from tests.contract.providers.fault_server import FaultServer, answer, lm_studio_models, stream_head
from tests.contract.providers.reading import prompt, read
from tests.contract.providers.wire_events import WHOLE


def _settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)


async def test_anthropic_answers_when_it_stands_behind_an_openai_that_is_overloaded(fault_server: FaultServer) -> None:
    fault_server.routes = {
        "/v1/responses": [answer(503, {"error": {"code": "server_is_overloaded"}})],
        "/v1/messages": [stream_head(), *WHOLE["messages"]],
    }
    settings = _settings(
        openai_api_key=KEY,
        openai_base_url=f"{fault_server.url}/v1",
        openai_dialect="responses",
        anthropic_api_key=KEY,
        anthropic_base_url=fault_server.url,
    )
    async with open_router(settings, Metrics()) as router:
        reading = await read(router.stream(prompt()))
    assert reading.error is None
    assert "".join(event.text for event in reading.events if isinstance(event, TextDelta)) == "Hello"
    asked = [(request.path, request.json()["model"]) for request in fault_server.requests if request.method == "POST"]
    assert asked == [("/v1/responses", "gpt-6-luna"), ("/v1/messages", "claude-haiku-5-5")]
    assert fault_server.requests[-1].headers["anthropic-version"] == "2026-10-21"


async def test_tiers_are_those_that_are_set_when_they_begin_with_zero() -> None:
    settings = _settings(
        lm_studio_url="http://localhost:1,http://localhost:2",
        openai_api_key=KEY,
        provider_tiers="lm_studio=0,lm_studio-2=4,openai=1",
    )
    async with open_targets(settings, load_prices()) as targets:
        assert {target.name: target.tier for target in targets} == {"lm_studio": 0, "lm_studio-2": 4, "openai": 1}


async def test_every_provider_tells_its_health_when_all_are_configured(fault_server: FaultServer) -> None:
    models = answer(200, {"data": [{"id": "gpt-6-luna"}, {"id": "claude-haiku-5-5"}]})
    fault_server.routes = {
        "/v1/models": [models],
        "/v1/models?limit=1000": [models],
        "/api/v1/models": [lm_studio_models(qwen=32_000)],
    }
    settings = _settings(
        lm_studio_url=f"{fault_server.url},{fault_server.url}",
        openai_base_url=f"{fault_server.url}/v1",
        anthropic_base_url=fault_server.url,
        providers="lm_studio,anthropic,openai,scripted",
    )
    async with open_router(settings, Metrics()) as router:
        found = await router.health()
    assert [health.provider for health in found] == ["lm_studio", "lm_studio-2", "anthropic", "openai", "scripted"]
    assert all(health.detail.startswith("Ready") for health in found)


@pytest.mark.parametrize(
    ("listing", "told"),
    [
        (answer(200, {"data": [{"id": "another"}]}), "has no model gpt-6-luna for this account"),
        (answer(401, {"error": {"code": "invalid_api_key"}}), "set MESSAGE_SERVICE_OPENAI_API_KEY to a valid one"),
        (answer(404, b"404 page not found"), "Ready with gpt-6-luna."),
    ],
    ids=["no such model", "bad key", "no list"],
)
async def test_health_says_what_to_do_when_something_is_wrong(
    fault_server: FaultServer, listing: bytes, told: str
) -> None:
    fault_server.routes = {"/v1/models": [listing]}
    settings = _settings(openai_base_url=f"{fault_server.url}/v1", openai_api_key=KEY)
    async with open_router(settings, Metrics()) as router:
        (health,) = await router.health()
    assert told in health.detail
    assert bool(health.models) is health.detail.startswith("Ready")


async def test_health_names_the_setting_when_nothing_answers_at_its_address() -> None:
    async with FaultServer() as gone:
        settings = _settings(anthropic_base_url=gone.url)
    async with open_router(settings, Metrics()) as router:
        (health,) = await router.health()
    assert not health.is_reachable
    assert "MESSAGE_SERVICE_ANTHROPIC_BASE_URL" in health.detail
