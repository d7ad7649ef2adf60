"""The router over real adapters: whom it asks, when it goes on to the next, and what it tells when nobody answers."""

import asyncio

import aiohttp
import pytest

from message_service.errors import (
    ContextTooLong,
    ModelUnavailable,
    NoProviderAvailable,
    ProviderAuthFailed,
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderRequestInvalid,
    StreamCut,
)
from message_service.messages.reply import FinishReason, Usage
from message_service.providers.lm_studio import LmStudioProvider, lm_studio_providers
from message_service.providers.provider import Finished, Provider, Started, TextDelta
from message_service.providers.router import Router, RoutingPolicy
from message_service.providers.routing.breaker import Breaker, BreakerPolicy
from message_service.providers.routing.failover import FailoverPolicy
from message_service.providers.routing.run import Restarted, Route, Switched
from message_service.providers.routing.target import Target
from message_service.providers.scripted import ScriptedProvider
from message_service.settings import MidstreamPolicy
from tests.contract.providers.fault_server import (
    CHAT,
    DONE,
    MODELS,
    FaultServer,
    Pause,
    Silence,
    Step,
    answer,
    delta,
    lm_studio_models,
    stream_head,
)
from tests.contract.providers.reading import prompt, read

REPLY: list[Step] = [stream_head(), delta("Hello"), delta(finish="stop"), DONE]
SCRIPTED = ScriptedProvider(tokens_per_second=10_000)


def _router(*providers: Provider, policy: RoutingPolicy | None = None) -> Router:
    return Router([Target(provider, Breaker(BreakerPolicy())) for provider in providers], policy)


def midstream(policy: MidstreamPolicy) -> RoutingPolicy:
    return RoutingPolicy(failover=FailoverPolicy(midstream=policy))


def _lm_studio(
    session: aiohttp.ClientSession, *servers: FaultServer, model: str | None = "fault"
) -> tuple[LmStudioProvider, ...]:
    return lm_studio_providers(session, [server.url for server in servers], None, model, 10, 10)


async def test_first_provider_answers_when_it_can(session: aiohttp.ClientSession, fault_server: FaultServer) -> None:
    fault_server.routes[CHAT] = REPLY
    reading = await read(_router(*_lm_studio(session, fault_server), SCRIPTED).stream(prompt()))
    assert reading.events == [
        Started("lm_studio", "fault"),
        TextDelta("Hello"),
        Finished(FinishReason.STOP),
    ]


async def test_next_provider_answers_when_the_first_fails_before_any_text(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("")]
    router = _router(*_lm_studio(session, fault_server), SCRIPTED)
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
        router = _router(*_lm_studio(session, first, second), SCRIPTED)
        reading = await read(router.stream(prompt("/script say=Hi")))
    assert [event for event in reading.events if isinstance(event, Switched)] == [
        Switched("lm_studio", "lm_studio-2", "provider_overloaded"),
        Switched("lm_studio-2", "scripted", "provider_rate_limited"),
    ]
    assert reading.text == "Hi"


async def test_error_passes_on_when_text_is_to_be_kept(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("Half a")]
    router = _router(*_lm_studio(session, fault_server), SCRIPTED, policy=midstream("keep"))
    reading = await read(router.stream(prompt()))
    assert type(reading.error) is StreamCut
    assert reading.text == "Half a"
    assert not any(isinstance(event, Switched) for event in reading.events)


async def test_text_is_taken_back_when_another_provider_begins_again(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("Half a")]
    router = _router(*_lm_studio(session, fault_server), SCRIPTED)
    reading = await read(router.stream(prompt("/script say=Hi")))
    assert reading.events[1:6] == [
        TextDelta("Half a"),
        Restarted("provider_stream_cut"),
        Switched("lm_studio", "scripted", "provider_stream_cut"),
        Started("scripted", "scripted"),
        TextDelta("Hi"),
    ]


async def test_text_is_kept_when_there_is_nobody_to_begin_again(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("Half a")]
    reading = await read(_router(*_lm_studio(session, fault_server)).stream(prompt()))
    assert type(reading.error) is StreamCut
    assert reading.text == "Half a"


async def test_same_model_goes_on_from_the_text_when_the_policy_is_to_continue(session: aiohttp.ClientSession) -> None:
    cut = [stream_head(), delta("Once upon a time "), delta("there was")]
    rest = [stream_head(), delta("a time there was"), delta(" a lamp."), delta(finish="stop"), DONE]
    models = lm_studio_models(fault=8192)
    async with (
        FaultServer({CHAT: cut, MODELS: [models]}) as first,
        FaultServer({CHAT: rest, MODELS: [models]}) as second,
    ):
        router = _router(*_lm_studio(session, first, second), policy=midstream("continue"))
        await router.look()
        reading = await read(router.stream(prompt()))
        asked = [request.json() for request in second.requests if request.path == CHAT]
    assert reading.error is None
    assert reading.text == "Once upon a time there was a lamp."
    assert not any(isinstance(event, Restarted) for event in reading.events)
    assert reading.events[3:5] == [
        Switched("lm_studio", "lm_studio-2", "provider_stream_cut"),
        Started("lm_studio-2", "fault"),
    ], "it is said that another goes on"
    assert asked[0]["messages"][-1] == {"role": "assistant", "content": "Once upon a time there was"}  # type: ignore[index]


async def test_text_is_kept_when_another_model_would_go_on(session: aiohttp.ClientSession) -> None:
    cut = [stream_head(), delta("Once upon")]
    async with (
        FaultServer({CHAT: cut, MODELS: [lm_studio_models(fault=8192)]}) as first,
        FaultServer({CHAT: REPLY, MODELS: [lm_studio_models(other=8192)]}) as second,
    ):
        router = _router(*_lm_studio(session, first, second, model=None), policy=midstream("continue"))
        await router.look()
        reading = await read(router.stream(prompt()))
    assert type(reading.error) is StreamCut
    assert reading.text == "Once upon"


async def test_target_is_left_alone_when_it_failed_five_times_and_asked_once_when_that_is_over(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [answer(529, b"")]
    soon = BreakerPolicy(first_open_seconds=0.3)
    (provider,) = _lm_studio(session, fault_server)
    first, second = Target(provider, Breaker(soon)), Target(SCRIPTED)
    router = Router([first, second])
    for _ in range(8):
        assert (await read(router.stream(prompt("/script say=Hi")))).text == "Hi"
    assert len(fault_server.requests) == 5
    fault_server.routes[CHAT] = [stream_head(), Pause(0.3), delta("Hello"), delta(finish="stop"), DONE]
    await asyncio.sleep(0.4)
    readings = await asyncio.gather(*(read(router.stream(prompt("/script say=Hi"))) for _ in range(8)))
    assert sorted(reading.text for reading in readings) == ["Hello", *["Hi"] * 7]
    assert first.in_flight == second.in_flight == 0


async def test_reply_waits_when_everybody_is_left_alone_and_is_tried_when_it_cannot_wait(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [answer(429, b"", {"Retry-After": "30"})]
    router = _router(*_lm_studio(session, fault_server))
    assert type((await read(router.stream(prompt()))).error) is ProviderRateLimited
    told = (await read(router.stream(prompt()))).error
    assert type(told) is NoProviderAvailable
    assert told.retry_after_seconds == 10, "at most so long, because others may find out earlier"
    assert len(fault_server.requests) == 1
    fault_server.routes[CHAT] = REPLY
    in_a_second = Route(deadline=asyncio.get_running_loop().time() + 1)
    assert (await read(router.stream(prompt(), in_a_second))).text == "Hello"


async def test_failure_is_told_at_once_when_only_a_person_can_mend_it(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [answer(401, b"")]
    router = _router(*_lm_studio(session, fault_server))
    for _ in range(3):
        assert type((await read(router.stream(prompt()))).error) is ProviderAuthFailed
    assert len(fault_server.requests) == 1


async def test_callers_wish_for_a_missing_model_leaves_the_target_open_to_others(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [answer(404, {"error": {"code": "model_not_found", "message": "no such model"}})]
    router = _router(*_lm_studio(session, fault_server))
    for _ in range(20):
        assert type((await read(router.stream(prompt(model="nonsense")))).error) is ModelUnavailable
    assert len(fault_server.requests) == 20


async def test_no_more_are_asked_of_a_target_at_once_than_it_has_room_for(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    most = 0

    def count(_: object) -> list[Step]:
        nonlocal most
        most = max(most, target.in_flight)
        return [stream_head(), Pause(0.05), delta("Hello"), delta(finish="stop"), DONE]

    fault_server.routes[CHAT] = count
    (provider,) = _lm_studio(session, fault_server)
    target = Target(provider, Breaker(BreakerPolicy()), most_in_flight=2)
    router = Router([target])
    readings = await asyncio.gather(*(read(router.stream(prompt())) for _ in range(12)))
    assert [reading.text for reading in readings] == ["Hello"] * 12
    assert most == 2


async def test_prompt_goes_back_to_be_trimmed_when_it_fits_no_target(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[MODELS] = [lm_studio_models(fault=512)]
    router = _router(*_lm_studio(session, fault_server))
    await router.look()
    error = (await read(router.stream(prompt(prompt_tokens=500)))).error
    assert isinstance(error, ContextTooLong)
    assert error.context_tokens == 512
    assert not [request for request in fault_server.requests if request.path == CHAT]


async def test_every_attempt_is_noted_however_it_ends(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("Half"), delta(" a")]
    router = _router(*_lm_studio(session, fault_server), SCRIPTED)
    route = Route()
    stream = router.stream(prompt("/script tokens=300 say=Hi"), route)
    async for event in stream:
        if event == TextDelta("Hi"):
            break
    await stream.aclose()
    failed, stopped = route.attempts
    assert (failed.provider, failed.model, failed.error) == ("lm_studio", "fault", "provider_stream_cut")
    assert failed.usage == Usage(20, 2, is_estimated=True)
    assert failed.first_token_at is not None
    assert failed.started_at <= failed.first_token_at <= failed.ended_at <= stopped.started_at
    assert (stopped.provider, stopped.error) == ("scripted", "stopped")


async def test_nobody_else_is_asked_when_the_prompt_itself_is_at_fault(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [answer(400, {"error": "Invalid 'temperature'"})]
    reading = await read(_router(*_lm_studio(session, fault_server), SCRIPTED).stream(prompt()))
    assert type(reading.error) is ProviderRequestInvalid
    assert reading.events == []


async def test_most_telling_error_is_told_when_all_fail(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [answer(429, b"", {"Retry-After": "3"})]
    async with FaultServer() as gone:
        router = _router(*_lm_studio(session, gone, fault_server))
    reading = await read(router.stream(prompt()))
    assert type(reading.error) is ProviderRateLimited
    assert reading.error.retry_after_seconds == 3.0
    assert reading.events == [Switched("lm_studio", "lm_studio-2", "provider_connect_failed")]


async def test_only_the_named_provider_is_asked_when_one_is_named(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    async with FaultServer() as gone:
        router = _router(*_lm_studio(session, gone, fault_server), SCRIPTED)
    fault_server.routes[CHAT] = REPLY
    assert (await read(router.stream(prompt("/script say=Hi"), Route(provider="scripted")))).text == "Hi"
    assert (await read(router.stream(prompt(), Route(provider="lm_studio")))).text == "Hello"
    assert (await read(router.stream(prompt(), Route(provider="lm_studio-2")))).text == "Hello"
    fault_server.routes[CHAT] = [answer(529, b"")]
    reading = await read(router.stream(prompt(), Route(provider="lm_studio-2")))
    assert type(reading.error) is ProviderOverloaded
    assert reading.events == []


async def test_prompt_is_refused_when_the_named_provider_does_not_exist(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    router = _router(*_lm_studio(session, fault_server), SCRIPTED)
    error = (await read(router.stream(prompt(), Route(provider="openai")))).error
    assert type(error) is ProviderRequestInvalid
    assert error.detail == "There is no provider 'openai'; there are lm_studio, scripted."


async def test_upstream_is_left_within_a_second_when_the_stream_is_closed(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("a"), Silence()]
    stream = _router(*_lm_studio(session, fault_server), SCRIPTED).stream(prompt())
    assert [type(await anext(stream)) for _ in range(2)] == [Started, TextDelta]
    async with asyncio.timeout(1):
        await stream.aclose()
        await fault_server.caller_left.wait()


async def test_health_is_told_of_each_provider_when_some_are_gone(session: aiohttp.ClientSession) -> None:
    async with FaultServer() as gone:
        router = _router(*_lm_studio(session, gone), SCRIPTED)
    assert [(one.provider, one.is_reachable) for one in await router.health()] == [
        ("lm_studio", False),
        ("scripted", True),
    ]
    await router.close()


def test_router_is_refused_when_there_is_nobody_to_ask() -> None:
    with pytest.raises(ValueError, match="at least one provider"):
        Router([])
