"""The router over real adapters: whom it asks, when it goes on to the next, and what it tells when nobody answers."""

import asyncio

import aiohttp
import pytest

from message_service.errors import (
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderRequestInvalid,
    StreamCut,
)
from message_service.messages.reply import FinishReason
from message_service.providers.lm_studio import LmStudioProvider, lm_studio_providers
from message_service.providers.provider import Finished, Started, TextDelta
from message_service.providers.router import Router, Switched
from message_service.providers.scripted import ScriptedProvider
from tests.contract.providers.fault_server import DONE, FaultServer, Silence, Step, answer, delta, stream_head
from tests.contract.providers.reading import prompt, read

CHAT = "/v1/chat/completions"
REPLY: list[Step] = [stream_head(), delta("Hello"), delta(finish="stop"), DONE]
SCRIPTED = ScriptedProvider(tokens_per_second=10_000)


def _lm_studio(session: aiohttp.ClientSession, *servers: FaultServer) -> tuple[LmStudioProvider, ...]:
    return lm_studio_providers(session, [server.url for server in servers], None, "fault", 10, 10)


async def test_first_provider_answers_when_it_can(session: aiohttp.ClientSession, fault_server: FaultServer) -> None:
    fault_server.routes[CHAT] = REPLY
    reading = await read(Router([*_lm_studio(session, fault_server), SCRIPTED]).stream(prompt(), provider=None))
    assert reading.events == [
        Started("lm_studio", "fault"),
        TextDelta("Hello"),
        Finished(FinishReason.STOP),
    ]


async def test_next_provider_answers_when_the_first_fails_before_any_text(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("")]
    router = Router([*_lm_studio(session, fault_server), SCRIPTED])
    reading = await read(router.stream(prompt("/script say=Hi")))
    assert reading.events[:4] == [
        Started("lm_studio", "fault"),
        Switched("lm_studio", "scripted", "provider_stream_cut"),
        Started("scripted", "scripted"),
        TextDelta("Hi"),
    ]
    assert reading.error is None


async def test_every_provider_is_tried_in_order_when_those_before_fail(session: aiohttp.ClientSession) -> None:
    async with FaultServer({CHAT: [answer(529, b"")]}) as first, FaultServer({CHAT: [answer(429, b"")]}) as second:
        router = Router([*_lm_studio(session, first, second), SCRIPTED])
        reading = await read(router.stream(prompt("/script say=Hi")))
    assert [event for event in reading.events if isinstance(event, Switched)] == [
        Switched("lm_studio", "lm_studio-2", "provider_overloaded"),
        Switched("lm_studio-2", "scripted", "provider_rate_limited"),
    ]
    assert reading.text == "Hi"


async def test_error_passes_on_when_text_was_already_shown(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("Half a")]
    reading = await read(Router([*_lm_studio(session, fault_server), SCRIPTED]).stream(prompt()))
    assert type(reading.error) is StreamCut
    assert reading.text == "Half a"
    assert not any(isinstance(event, Switched) for event in reading.events)


async def test_nobody_else_is_asked_when_the_prompt_itself_is_at_fault(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [answer(400, {"error": "Invalid 'temperature'"})]
    reading = await read(Router([*_lm_studio(session, fault_server), SCRIPTED]).stream(prompt()))
    assert type(reading.error) is ProviderRequestInvalid
    assert reading.events == []


async def test_most_telling_error_is_told_when_all_fail(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [answer(429, b"", {"Retry-After": "3"})]
    async with FaultServer() as gone:
        router = Router(_lm_studio(session, gone, fault_server))
    reading = await read(router.stream(prompt()))
    assert type(reading.error) is ProviderRateLimited
    assert reading.error.retry_after_seconds == 3.0
    assert reading.events == [Switched("lm_studio", "lm_studio-2", "provider_connect_failed")]


async def test_only_the_named_provider_is_asked_when_one_is_named(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    async with FaultServer() as gone:
        router = Router([*_lm_studio(session, gone, fault_server), SCRIPTED])
    fault_server.routes[CHAT] = REPLY
    assert (await read(router.stream(prompt("/script say=Hi"), provider="scripted"))).text == "Hi"
    assert (await read(router.stream(prompt(), provider="lm_studio"))).text == "Hello"
    assert (await read(router.stream(prompt(), provider="lm_studio-2"))).text == "Hello"
    fault_server.routes[CHAT] = [answer(529, b"")]
    reading = await read(router.stream(prompt(), provider="lm_studio-2"))
    assert type(reading.error) is ProviderOverloaded
    assert reading.events == []


async def test_prompt_is_refused_when_the_named_provider_does_not_exist(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    router = Router([*_lm_studio(session, fault_server), SCRIPTED])
    error = (await read(router.stream(prompt(), provider="openai"))).error
    assert type(error) is ProviderRequestInvalid
    assert error.detail == "There is no provider 'openai'; there are lm_studio, scripted."


async def test_upstream_is_left_within_a_second_when_the_stream_is_closed(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("a"), Silence()]
    stream = Router([*_lm_studio(session, fault_server), SCRIPTED]).stream(prompt())
    assert [type(await anext(stream)) for _ in range(2)] == [Started, TextDelta]
    async with asyncio.timeout(1):
        await stream.aclose()
        await fault_server.caller_left.wait()


async def test_health_is_told_of_each_provider_when_some_are_gone(session: aiohttp.ClientSession) -> None:
    async with FaultServer() as gone:
        router = Router([*_lm_studio(session, gone), SCRIPTED])
    assert [(one.provider, one.is_reachable) for one in await router.health()] == [
        ("lm_studio", False),
        ("scripted", True),
    ]
    await router.close()


def test_router_is_refused_when_there_is_nobody_to_ask() -> None:
    with pytest.raises(ValueError, match="at least one provider"):
        Router([])
