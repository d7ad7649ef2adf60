"""What becomes of the text that was shown when its provider fails, by the policy."""

import aiohttp

from message_service.errors import ModelUnavailable, StreamCut
from message_service.providers.provider import Provider, Started, TextDelta
from message_service.providers.router import Router, RoutingPolicy
from message_service.providers.routing.breaker import Breaker, BreakerPolicy
from message_service.providers.routing.failover import FailoverPolicy
from message_service.providers.routing.retry_budget import RetryBudget
from message_service.providers.routing.run import Restarted, Route, Switched
from message_service.providers.routing.target import Target
from message_service.setting_types import MidstreamPolicy
from tests.contract.providers.fault_server import (
    CHAT,
    DONE,
    MODELS,
    FaultServer,
    Step,
    delta,
    event,
    lm_studio_models,
    stream_head,
)
from tests.contract.providers.reading import prompt, read
from tests.contract.providers.routers import SCRIPTED, lm_studios, router_of

REPLY: list[Step] = [stream_head(), delta("Hello"), delta(finish="stop"), DONE]


def midstream(policy: MidstreamPolicy) -> RoutingPolicy:
    return RoutingPolicy(failover=FailoverPolicy(midstream=policy))


async def test_error_passes_on_when_text_is_to_be_kept(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("Half a")]
    router = router_of(*lm_studios(session, fault_server), SCRIPTED, policy=midstream("keep"))
    reading = await read(router.stream(prompt()))
    assert type(reading.error) is StreamCut
    assert reading.text == "Half a"
    assert not any(isinstance(event, Switched) for event in reading.events)


async def test_text_is_taken_back_when_another_provider_begins_again(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("Half a")]
    router = router_of(*lm_studios(session, fault_server), SCRIPTED)
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
    reading = await read(router_of(*lm_studios(session, fault_server)).stream(prompt()))
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
        router = router_of(*lm_studios(session, first, second), policy=midstream("continue"))
        await router.look()
        reading = await read(router.stream(prompt()))
        asked = [request.json() for request in second.requests if request.path == CHAT]
    assert reading.error is None
    assert reading.text == "Once upon a time there was a lamp."
    assert not any(isinstance(event, Restarted) for event in reading.events)
    assert [event for event in reading.events if isinstance(event, Started | Switched)] == [
        Started("lm_studio", "fault"),
        Switched("lm_studio", "lm_studio-2", "provider_stream_cut"),
        Started("lm_studio-2", "fault"),
    ], "it is said that another goes on"
    assert asked[0]["messages"][-1] == {"role": "assistant", "content": "Once upon a time there was"}  # type: ignore[index]


async def test_continuation_may_only_be_as_long_as_was_asked_for_together_with_what_was_shown(
    session: aiohttp.ClientSession,
) -> None:
    cut = [stream_head(), delta("Once upon a time "), delta("there was")]
    models = lm_studio_models(fault=8192)
    async with (
        FaultServer({CHAT: cut, MODELS: [models]}) as first,
        FaultServer({CHAT: REPLY, MODELS: [models]}) as second,
    ):
        router = router_of(*lm_studios(session, first, second), policy=midstream("continue"))
        await router.look()
        counting = Route(count_tokens=lambda text: len(text.split()))
        for most in (10, 3):
            await read(router.stream(prompt(max_output_tokens=most), counting))
        asked = [request.json()["max_tokens"] for request in second.requests if request.path == CHAT]
    assert asked == [4, 1], "something is left to ask for"


async def test_dated_name_of_the_same_model_goes_on_when_the_policy_is_to_continue(
    session: aiohttp.ClientSession,
) -> None:
    cut, rest = (
        [stream_head(), event({"model": "fault-2026-08-07", "choices": [{"delta": {"content": text}}]})]
        for text in ("Once upon a time ", "there was a lamp.")
    )
    models = lm_studio_models(fault=8192)
    async with (
        FaultServer({CHAT: cut, MODELS: [models]}) as first,
        FaultServer({CHAT: [*rest, delta(finish="stop"), DONE], MODELS: [models]}) as second,
    ):
        router = router_of(*lm_studios(session, first, second), policy=midstream("continue"))
        await router.look()
        reading = await read(router.stream(prompt()))
    assert reading.error is None
    assert reading.text == "Once upon a time there was a lamp."


async def test_target_is_not_blamed_when_another_model_answers_there_than_wrote_the_text(
    session: aiohttp.ClientSession,
) -> None:
    cut = [stream_head(), delta("Once upon a time "), delta("there was")]
    other = [stream_head(), event({"model": "other", "choices": [{"delta": {"content": " a lamp."}}]})]
    models = lm_studio_models(fault=8192)
    async with (
        FaultServer({CHAT: cut, MODELS: [models]}) as first,
        FaultServer({CHAT: other, MODELS: [models]}) as second,
    ):
        providers = lm_studios(session, first, second)
        one_failure_opens = BreakerPolicy(failures_in_a_row=1)
        cutting, well = (Target(provider, Breaker(one_failure_opens)) for provider in providers)
        router = Router([cutting, well], midstream("continue"))
        await router.look()
        reading = await read(router.stream(prompt()))
    assert (type(reading.error), reading.text) == (ModelUnavailable, "Once upon a time there was")
    assert cutting.breaker is not None
    assert cutting.breaker.ejection is not None
    assert well.breaker is not None
    assert well.breaker.ejection is None


async def test_text_is_kept_when_another_model_would_go_on(session: aiohttp.ClientSession) -> None:
    cut = [stream_head(), delta("Once upon")]
    async with (
        FaultServer({CHAT: cut, MODELS: [lm_studio_models(fault=8192)]}) as first,
        FaultServer({CHAT: REPLY, MODELS: [lm_studio_models(other=8192)]}) as second,
    ):
        router = router_of(*lm_studios(session, first, second, model=None), policy=midstream("continue"))
        await router.look()
        reading = await read(router.stream(prompt()))
    assert type(reading.error) is StreamCut
    assert reading.text == "Once upon"


async def test_failover_that_keeps_the_text_costs_nothing_of_the_retry_budget(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    providers: list[Provider] = [*lm_studios(session, fault_server), SCRIPTED]
    targets = [Target(provider) for provider in providers]
    fault_server.routes[CHAT] = [stream_head(), delta("Half a")]
    one_retry = RetryBudget(share=0, least_per_second=0.1)
    keeping, restarting = (
        Router(targets, policy, budget=one_retry) for policy in (midstream("keep"), midstream("restart"))
    )
    for _ in range(3):
        assert (await read(keeping.stream(prompt()))).text == "Half a"
    assert (await read(restarting.stream(prompt("/script say=Hi")))).text == "Half aHi", "taken back, and written anew"
    assert type((await read(restarting.stream(prompt("/script say=Hi")))).error) is StreamCut, "that was the one"
