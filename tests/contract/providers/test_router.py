"""The router over real adapters: whom it asks, when it goes on to the next, and what it tells when nobody answers."""

import asyncio

import aiohttp
import pytest
from structlog.testing import capture_logs

from message_service.errors import (
    ContextTooLong,
    ModelNotFound,
    NoProviderAvailable,
    ProviderAuthFailed,
    ProviderOverloaded,
    ProviderRateLimited,
    ProviderRequestInvalid,
)
from message_service.messages.reply import FinishReason, Usage
from message_service.providers.provider import Finished, Started, TextDelta
from message_service.providers.router import Router
from message_service.providers.routing.breaker import Breaker, BreakerPolicy
from message_service.providers.routing.run import Route, Switched
from message_service.providers.routing.target import Target
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
from tests.contract.providers.routers import SCRIPTED, lm_studios, router_of

REPLY: list[Step] = [stream_head(), delta("Hello"), delta(finish="stop"), DONE]


async def test_first_provider_answers_when_it_can(session: aiohttp.ClientSession, fault_server: FaultServer) -> None:
    fault_server.routes[CHAT] = REPLY
    reading = await read(router_of(*lm_studios(session, fault_server), SCRIPTED).stream(prompt()))
    assert reading.events == [
        Started("lm_studio", "fault"),
        TextDelta("Hello"),
        Finished(FinishReason.STOP),
    ]


async def test_next_provider_answers_when_the_first_fails_before_any_text(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("")]
    router = router_of(*lm_studios(session, fault_server), SCRIPTED)
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
        router = router_of(*lm_studios(session, first, second), SCRIPTED)
        reading = await read(router.stream(prompt("/script say=Hi")))
    assert [event for event in reading.events if isinstance(event, Switched)] == [
        Switched("lm_studio", "lm_studio-2", "provider_overloaded"),
        Switched("lm_studio-2", "scripted", "provider_rate_limited"),
    ]
    assert reading.text == "Hi"


async def test_target_is_left_alone_when_it_failed_five_times_and_asked_once_when_that_is_over(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [answer(529, b"")]
    soon = BreakerPolicy(first_open_seconds=0.3)
    (provider,) = lm_studios(session, fault_server)
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
    router = router_of(*lm_studios(session, fault_server))
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
    router = router_of(*lm_studios(session, fault_server))
    for _ in range(3):
        assert type((await read(router.stream(prompt()))).error) is ProviderAuthFailed
    assert len(fault_server.requests) == 1


async def test_others_wait_while_one_finds_out_whether_a_person_has_mended_it(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [answer(401, b"")]
    soon = BreakerPolicy(first_lasting_open_seconds=0.1)
    (provider,) = lm_studios(session, fault_server)
    router = Router([Target(provider, Breaker(soon))])
    assert type((await read(router.stream(prompt()))).error) is ProviderAuthFailed
    await asyncio.sleep(0.2)
    fault_server.routes[CHAT] = [stream_head(), Pause(0.3), delta("Hello"), delta(finish="stop"), DONE]
    probe, *others = await asyncio.gather(*(read(router.stream(prompt())) for _ in range(4)))
    assert probe.text == "Hello"
    assert [type(other.error) for other in others] == [NoProviderAvailable] * 3


@pytest.mark.parametrize("status", [402, 403, 404])
async def test_target_stays_open_to_others_when_a_model_that_a_caller_named_is_not_to_be_had(
    session: aiohttp.ClientSession, fault_server: FaultServer, status: int
) -> None:
    refusal = answer(status, {"error": {"code": status, "message": "Nobody serves nonsense on this account."}})
    fault_server.routes[CHAT] = lambda request: [refusal] if request.json()["model"] == "nonsense" else REPLY
    router = router_of(*lm_studios(session, fault_server))
    for _ in range(8):
        assert (await read(router.stream(prompt(model="nonsense")))).error is not None
    assert len([request for request in fault_server.requests if request.path == CHAT]) == 8
    assert (await read(router.stream(prompt()))).text == "Hello"


async def test_callers_wish_for_a_missing_model_leaves_the_target_open_to_others(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [answer(404, {"error": {"code": "model_not_found", "message": "no such model"}})]
    fault_server.routes[MODELS] = [lm_studio_models(fault=4096)]
    router = router_of(*lm_studios(session, fault_server))
    for _ in range(20):
        assert type((await read(router.stream(prompt(model="nonsense")))).error) is ModelNotFound
    assert len([request for request in fault_server.requests if request.path == CHAT]) == 20


async def test_configured_model_that_does_not_exist_closes_the_target_at_once_and_the_next_answers(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [answer(404, {"error": {"code": "model_not_found", "message": "no such model"}})]
    fault_server.routes[MODELS] = [lm_studio_models(another=4096)]
    router = router_of(*lm_studios(session, fault_server), SCRIPTED)
    with capture_logs() as logged:
        for _ in range(3):
            assert (await read(router.stream(prompt("/script say=Hi")))).text == "Hi"
    assert len([request for request in fault_server.requests if request.path == CHAT]) == 1
    (left_alone,) = [line for line in logged if line["event"] == "provider.left_alone"]
    assert (left_alone["log_level"], left_alone["reason"]) == ("error", "model_not_found")
    assert "no model fault (there are another)" in left_alone["detail"]
    alone = Route(provider="lm_studio")
    assert type((await read(router.stream(prompt(), alone))).error) is ModelNotFound, "and is told when nobody else may"


async def test_no_more_are_asked_of_a_target_at_once_than_it_has_room_for(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    most = 0

    def count(_: object) -> list[Step]:
        nonlocal most
        most = max(most, target.in_flight)
        return [stream_head(), Pause(0.05), delta("Hello"), delta(finish="stop"), DONE]

    fault_server.routes[CHAT] = count
    (provider,) = lm_studios(session, fault_server)
    target = Target(provider, Breaker(BreakerPolicy()), most_in_flight=2)
    router = Router([target])
    readings = await asyncio.gather(*(read(router.stream(prompt())) for _ in range(12)))
    assert [reading.text for reading in readings] == ["Hello"] * 12
    assert most == 2


async def test_fewer_are_asked_of_a_target_at_once_when_it_said_that_it_is_too_much(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    waves: list[int] = []
    room = 4

    def play(_: object) -> list[Step]:
        waves[-1] = max(waves[-1], target.in_flight)
        if target.in_flight > room:
            return [Pause(0.05), answer(429, b"", {"Retry-After": "0.1"})]
        return [stream_head(), Pause(0.05), delta("Hello"), delta(finish="stop"), DONE]

    fault_server.routes[CHAT] = play
    (provider,) = lm_studios(session, fault_server)
    target = Target(provider, Breaker(BreakerPolicy()))
    router = Router([target])
    for _ in range(2):
        waves.append(0)
        readings = await asyncio.gather(*(read(router.stream(prompt())) for _ in range(16)))
        assert any(type(reading.error) is ProviderRateLimited for reading in readings)
        await asyncio.sleep(0.2)
    room = 16
    waves.append(0)
    readings = await asyncio.gather(*(read(router.stream(prompt())) for _ in range(16)))
    assert [reading.text for reading in readings] == ["Hello"] * 16, "who finds no room waits for it"
    first, second, third = waves
    assert (first, second) == (16, 8), "half of what was too much"
    assert 4 <= third <= 8, "half again, and then one more for each full round"


async def test_prompt_goes_back_to_be_trimmed_when_it_fits_no_target(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[MODELS] = [lm_studio_models(fault=512)]
    router = router_of(*lm_studios(session, fault_server))
    await router.look()
    error = (await read(router.stream(prompt(prompt_tokens=500)))).error
    assert isinstance(error, ContextTooLong)
    assert error.context_tokens == 512
    assert not [request for request in fault_server.requests if request.path == CHAT]


async def test_every_attempt_is_noted_however_it_ends(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("Half"), delta(" a")]
    router = router_of(*lm_studios(session, fault_server), SCRIPTED)
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
    reading = await read(router_of(*lm_studios(session, fault_server), SCRIPTED).stream(prompt()))
    assert type(reading.error) is ProviderRequestInvalid
    assert reading.events == []


async def test_most_telling_error_is_told_when_all_fail(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [answer(429, b"", {"Retry-After": "3"})]
    async with FaultServer() as gone:
        router = router_of(*lm_studios(session, gone, fault_server))
    reading = await read(router.stream(prompt()))
    assert type(reading.error) is ProviderRateLimited
    assert reading.error.retry_after_seconds == 3.0
    assert reading.events == [Switched("lm_studio", "lm_studio-2", "provider_connect_failed")]


async def test_only_the_named_provider_is_asked_when_one_is_named(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    async with FaultServer() as gone:
        router = router_of(*lm_studios(session, gone, fault_server), SCRIPTED)
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
    router = router_of(*lm_studios(session, fault_server), SCRIPTED)
    error = (await read(router.stream(prompt(), Route(provider="openai")))).error
    assert type(error) is ProviderRequestInvalid
    assert error.detail == "There is no provider 'openai'; there are lm_studio, scripted."


async def test_upstream_is_left_within_a_second_when_the_stream_is_closed(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("a"), Silence()]
    stream = router_of(*lm_studios(session, fault_server), SCRIPTED).stream(prompt())
    assert [type(await anext(stream)) for _ in range(2)] == [Started, TextDelta]
    async with asyncio.timeout(1):
        await stream.aclose()
        await fault_server.caller_left.wait()


async def test_health_is_told_of_each_provider_when_some_are_gone(session: aiohttp.ClientSession) -> None:
    async with FaultServer() as gone:
        router = router_of(*lm_studios(session, gone), SCRIPTED)
    assert [(one.provider, one.is_reachable) for one in await router.health()] == [
        ("lm_studio", False),
        ("scripted", True),
    ]
    await asyncio.gather(*(target.provider.close() for target in router.targets))


def test_router_is_refused_when_there_is_nobody_to_ask() -> None:
    with pytest.raises(ValueError, match="at least one provider"):
        Router([])
