"""Which model is asked, what health tells, and how the model list is looked up."""

import asyncio

import aiohttp
import pytest
from pydantic import SecretStr

from message_service.errors import ModelNotFound, ModelUnavailable, ProviderConnectFailed, ProviderError
from message_service.providers.lm_studio import LmStudioProvider, lm_studio_providers
from message_service.providers.provider import Started
from tests.contract.providers.fault_server import (
    CHAT,
    DONE,
    FaultServer,
    Pause,
    Silence,
    answer,
    delta,
    lm_studio_models,
    stream_head,
)
from tests.contract.providers.reading import prompt, read
from tests.contract.providers.recordings import recording
from tests.fixtures.waiting import eventually

V1, V0, OPENAI = "/api/v1/models", "/api/v0/models", "/v1/models"
REPLY = (stream_head(), delta("Hi"), delta(finish="stop"), DONE)


def _provider(
    session: aiohttp.ClientSession,
    url: str,
    *,
    model: str | None = None,
    api_key: str | None = None,
    window_tokens: int | None = None,
) -> LmStudioProvider:
    return LmStudioProvider(
        session,
        url,
        SecretStr(api_key) if api_key else None,
        model,
        first_token_timeout_seconds=5,
        token_timeout_seconds=5,
        window_tokens=window_tokens,
    )


def _asked(server: FaultServer) -> list[str]:
    return [request.path for request in server.requests]


@pytest.mark.parametrize(
    ("asked", "configured", "sent"),
    [(None, None, "fault"), (None, "qwen", "qwen"), ("gemma", "qwen", "gemma")],
)
async def test_model_is_the_most_specific_one_when_several_are_named(
    session: aiohttp.ClientSession, fault_server: FaultServer, asked: str | None, configured: str | None, sent: str
) -> None:
    fault_server.routes = {V1: [lm_studio_models(fault=4096, other=8192)], CHAT: REPLY}
    reading = await read(_provider(session, fault_server.url, model=configured).stream(prompt(model=asked)))
    assert reading.error is None
    assert fault_server.requests[-1].json()["model"] == sent
    # With one model loaded, LM Studio lets it answer whatever name was asked for.
    started = reading.events[0]
    assert isinstance(started, Started)
    assert started.model == "fault"
    assert bool(started.warnings) is (sent != "fault")


async def test_prompt_is_refused_when_no_model_is_loaded(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes = {V1: [answer(200, {"models": [{"type": "llm", "key": "qwen", "loaded_instances": []}]})]}
    provider = _provider(session, fault_server.url)
    error = (await read(provider.stream(prompt()))).error
    assert type(error) is ModelUnavailable
    assert "lms load qwen" in error.detail
    # Somebody does as told: the very next prompt is answered.
    fault_server.routes = {V1: [lm_studio_models(qwen=4096)], CHAT: REPLY}
    assert (await read(provider.stream(prompt()))).error is None


async def test_list_is_asked_for_once_when_many_prompts_come_together(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes = {V1: [Pause(0.1), lm_studio_models(fault=4096)], CHAT: REPLY}
    provider = _provider(session, fault_server.url)
    readings = await asyncio.gather(*(read(provider.stream(prompt())) for _ in range(10)))
    assert all(reading.error is None for reading in readings)
    await read(provider.stream(prompt()))
    assert _asked(fault_server).count(V1) == 1


async def _is_asked(server: FaultServer) -> None:
    async def look() -> bool:
        return bool(server.requests)

    await eventually(look, seconds=10, what="the server has a request")


async def test_others_get_the_list_when_the_one_who_asked_goes_away(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes = {V1: [Pause(1), lm_studio_models(fault=4096)], CHAT: REPLY}
    provider = _provider(session, fault_server.url)
    first = asyncio.create_task(read(provider.stream(prompt())))
    await _is_asked(fault_server)
    second = asyncio.create_task(read(provider.stream(prompt())))
    await asyncio.sleep(0)  # it begins, and waits for the same list
    first.cancel()
    assert (await second).error is None
    assert first.cancelled()
    assert _asked(fault_server).count(V1) == 1


async def test_waiting_prompt_ends_in_an_error_when_the_provider_is_closed(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes = {V1: [Silence()]}
    provider = _provider(session, fault_server.url)
    waiting = asyncio.create_task(read(provider.stream(prompt())))
    await _is_asked(fault_server)
    await provider.close()
    assert type((await waiting).error) is ProviderConnectFailed


async def test_key_and_attempt_are_sent_when_they_are_given(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes = {V1: [lm_studio_models(fault=4096)], CHAT: REPLY}
    await read(_provider(session, fault_server.url, api_key="secret\n").stream(prompt(attempt_id="msg_1.2")))
    listing, chat = fault_server.requests
    assert listing.headers["authorization"] == chat.headers["authorization"] == "Bearer secret"
    assert chat.headers["x-request-id"] == "msg_1.2"


# --- health ------------------------------------------------------------------------------------


async def test_health_says_how_to_start_it_when_nothing_listens(session: aiohttp.ClientSession) -> None:
    async with FaultServer() as server:
        url = server.url
    health = await _provider(session, url).health()
    assert (health.is_reachable, health.models) == (False, ())
    assert "lms server start" in health.detail


async def test_health_says_what_to_load_when_no_model_is(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes = {V1: [answer(200, {"models": [{"type": "llm", "key": "qwen", "loaded_instances": []}]})]}
    health = await _provider(session, fault_server.url).health()
    assert (health.is_reachable, health.models) == (True, ())
    assert "lms load qwen" in health.detail


async def test_health_says_what_to_download_when_there_is_no_model(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes = {V1: [answer(200, {"models": []})]}
    assert "lms get" in (await _provider(session, fault_server.url).health()).detail


async def test_health_says_which_model_to_load_when_another_one_is(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes = {V1: [_qwen_and_unloaded_gemma()]}
    health = await _provider(session, fault_server.url, model="gemma").health()
    assert health.models == ("qwen",)
    assert "gemma is not loaded (qwen is)" in health.detail


async def test_health_names_the_setting_when_the_configured_model_is_not_there_at_all(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes = {V1: [_qwen_and_unloaded_gemma()]}
    health = await _provider(session, fault_server.url, model="gema").health()
    assert (health.is_reachable, health.models) == (True, ())
    assert "no model gema (there are gemma, qwen): correct MESSAGE_SERVICE_LM_STUDIO_MODEL" in health.detail


@pytest.mark.parametrize(
    ("model", "listing", "kind"),
    [
        ("gema", None, ModelNotFound),
        ("gemma", None, ModelUnavailable),
        (None, None, ModelUnavailable),
        ("gema", answer(200, {"data": [{"id": "gemma"}]}), ModelNotFound),
        ("gema", answer(503, b""), ModelUnavailable),
    ],
    ids=["mistyped", "not loaded", "unloaded meanwhile", "another server's", "nobody knows"],
)
async def test_missing_model_is_an_outage_only_when_the_server_has_it(
    session: aiohttp.ClientSession,
    fault_server: FaultServer,
    model: str | None,
    listing: bytes | None,
    kind: type[ProviderError],
) -> None:
    missing = {"error": {"message": "Model not found", "param": "model", "code": "model_not_found"}}
    fault_server.routes = {CHAT: [answer(404, missing)]}
    for path in ("/v1/models",) if listing else (V1,):
        fault_server.routes[path] = [listing or _qwen_and_unloaded_gemma()]
    reading = await read(_provider(session, fault_server.url, model=model).stream(prompt()))
    assert type(reading.error) is kind


def _qwen_and_unloaded_gemma() -> bytes:
    qwen = {"type": "llm", "key": "qwen", "loaded_instances": [{"id": "qwen", "config": {"context_length": 4096}}]}
    return answer(200, {"models": [qwen, {"type": "llm", "key": "gemma", "loaded_instances": []}]})


async def test_health_says_what_to_do_when_the_model_was_loaded_with_less_context_than_prompts_need(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes = {V1: [lm_studio_models(qwen=4096)]}
    told = (await _provider(session, fault_server.url, window_tokens=32_000).health()).detail
    assert told.startswith("Ready with qwen, but it was loaded with a context of 4,096 tokens")
    assert "`lms load qwen --context-length 32000`" in told
    enough = await _provider(session, fault_server.url, window_tokens=4096).health()
    assert enough.detail == "Ready with qwen."


async def test_capabilities_are_those_of_the_least_instance_when_a_model_is_loaded_twice(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    """As it is when a request loaded it again after its idle time, with the defaults."""
    instances = [
        {"id": "qwen", "config": {"context_length": 32_768, "parallel": 8}},
        {"id": "qwen:2", "config": {"context_length": 4096, "parallel": 4}},
    ]
    fault_server.routes = {
        V1: [answer(200, {"models": [{"type": "llm", "key": "qwen", "loaded_instances": instances}]})]
    }
    found = await _provider(session, fault_server.url).capabilities()
    assert (found.model, found.context_tokens, found.parallel_replies) == ("qwen", 4096, 4)
    assert found.can_prefill


async def test_capabilities_name_no_model_when_the_one_that_is_asked_for_is_not_loaded(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes = {V1: [lm_studio_models(gemma=4096)]}
    found = await _provider(session, fault_server.url, model="qwen").capabilities()
    assert (found.model, found.context_tokens) == (None, None)


async def test_health_tells_models_and_smallest_context_when_it_is_ready(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes = {V1: [lm_studio_models(qwen=8192, gemma=4096)]}
    health = await _provider(session, fault_server.url).health()
    assert (health.models, health.context_tokens, health.detail) == (("qwen", "gemma"), 4096, "Ready with qwen.")


async def test_health_says_that_the_key_is_wrong_when_it_is_refused(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes = {V1: [answer(401, {"error": "Unauthorized"})]}
    health = await _provider(session, fault_server.url).health()
    assert health.is_reachable
    assert "MESSAGE_SERVICE_LM_STUDIO_API_KEY" in health.detail


async def test_health_says_so_when_something_else_answers(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    for path in (V1, V0, OPENAI):
        fault_server.routes[path] = [answer(200, b"<html>Welcome</html>", {"Content-Type": "text/html"})]
    health = await _provider(session, fault_server.url).health()
    assert health.is_reachable
    assert "check its URL" in health.detail


@pytest.mark.parametrize("unknown", [answer(404, {"error": "x"}), answer(200, {"error": "Unexpected endpoint"})])
async def test_older_lists_are_read_when_the_newest_is_unknown(
    session: aiohttp.ClientSession, fault_server: FaultServer, unknown: bytes
) -> None:
    loaded = {"id": "qwen", "type": "llm", "state": "loaded", "loaded_context_length": 4096}
    fault_server.routes = {V1: [unknown], V0: [answer(200, {"data": [loaded]})]}
    assert (await _provider(session, fault_server.url).health()).context_tokens == 4096
    fault_server.routes = {V1: [unknown], V0: [unknown], OPENAI: [recording("models")]}
    health = await _provider(session, fault_server.url).health()
    assert (health.models, health.context_tokens) == (("tiny",), 1024)


async def test_instances_are_numbered_when_there_are_several_urls(session: aiohttp.ClientSession) -> None:
    providers = lm_studio_providers(session, ["http://127.0.0.1:1", "http://127.0.0.1:2"], None, None, 60, 20)
    assert [provider.name for provider in providers] == ["lm_studio", "lm_studio-2"]
