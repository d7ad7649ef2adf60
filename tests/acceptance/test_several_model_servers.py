"""Several model servers behind real workers: who is left alone, who finds out, and what a caller is told."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest_asyncio

from tests.acceptance.test_provider_commands import run
from tests.contract.providers.fault_server import (
    CHAT,
    MODELS,
    WELL,
    FaultServer,
    Pause,
    Step,
    answer,
    delta,
    lm_studio_models,
    stream_head,
)
from tests.fixtures.client import names_of, text_of
from tests.fixtures.service import Service, StartService
from tests.fixtures.waiting import eventually

BROKEN: Sequence[Step] = [answer(500, {"error": "It broke"})]
OPEN_SECONDS = 2


@pytest_asyncio.fixture
async def model() -> AsyncIterator[FaultServer]:
    async with FaultServer({MODELS: [lm_studio_models(fault=8192)], CHAT: WELL}) as server:
        yield server


async def _provider(service: Service) -> dict[str, Any]:
    told = (await service.client().get("/v1/providers")).json
    assert told["object"] == "list"
    return next(iter(told["data"]), {}) | {"workers": told["workers"]}


async def test_other_worker_leaves_a_broken_server_alone_and_one_probe_is_sent_by_both(
    start_service: StartService, model: FaultServer
) -> None:
    def chats() -> int:
        return sum(request.path == CHAT for request in model.requests)

    settings: dict[str, Any] = {
        "LM_STUDIO_URL": model.url,
        "LM_STUDIO_MODEL": "fault",
        "BREAKER_FAILURES": "3",
        "BREAKER_OPEN_SECONDS": str(OPEN_SECONDS),
        "MAX_ATTEMPTS": "50",
    }
    async with start_service(workers=1, **settings) as service:
        model.routes[CHAT] = BROKEN
        caller = service.client()
        first = await caller.ask("Hello!", "c0")

        async def is_open() -> bool:
            return bool((await _provider(service)).get("breaker") == "open")

        await eventually(is_open, seconds=20, what="the breaker is open and the API says so")
        await service.start(workers=1, **settings)

        async def are_two() -> bool:
            return bool((await _provider(service))["workers"] == 2)

        await eventually(are_two, seconds=20, what="both workers tell of the provider")

        # From here on the server is well but slow, so that who asks together asks while a probe is under way.
        before = chats()
        model.routes[CHAT] = [stream_head(), Pause(1), *WELL[1:]]
        others = [await caller.ask("Hello!", f"c{number}") for number in range(1, 13)]

        async def is_probed() -> bool:
            return chats() > before

        await eventually(is_probed, seconds=60, what="somebody probes")
        await asyncio.sleep(0.7)  # the probe's first word takes longer
        assert chats() - before == 1, "one probe is under way, over both workers"
        for reply in (first, *others):
            ended = await caller.ended(reply["id"], seconds=90)
            assert ended["status"] == "completed"
        attempts = (await caller.reply(first["id"]))["attempt_log"]
        assert attempts[0]["error"] == "provider_failed"
        assert attempts[-1].items() >= {"provider": "lm_studio", "model": "fault"}.items()
        assert attempts[-1]["host"] == model.url.removeprefix("http://")


async def test_text_is_begun_again_elsewhere_and_watchers_are_told_when_a_server_breaks_off(
    start_service: StartService, model: FaultServer
) -> None:
    cut: Sequence[Step] = [stream_head(), delta("Half a"), Pause(0.3)]
    async with FaultServer({MODELS: [lm_studio_models(fault=8192)], CHAT: cut}) as broken:
        settings: dict[str, Any] = {"LM_STUDIO_URL": f"{broken.url},{model.url}", "LM_STUDIO_MODEL": "fault"}
        async with start_service(**settings) as service:
            caller = service.client()
            for number in range(20):
                asked = await caller.ask("Hello!", f"c{number}")
                events = await caller.watch_whole(asked["id"])
                ended = await caller.reply(asked["id"])
                assert ended["status"] == "completed"
                assert text_of(events) == ended["message"]["content"] == "Hello"
                if "reply.reset" in names_of(events):
                    break
            names = names_of(events)
            assert names[names.index("reply.reset") :][:4] == [
                "reply.reset",
                "provider.switched",
                "reply.started",
                "reply.delta",
            ]
            assert [attempt.get("error") for attempt in ended["attempt_log"]] == ["provider_stream_cut", None]


async def test_providers_are_told_of_when_no_worker_is_there(start_service: StartService) -> None:
    async with start_service(workers=0) as service:
        told = (await service.client().get("/v1/providers")).json
        assert (told["data"], told["workers"]) == ([], 0)
        assert "No worker" in told["detail"]


async def test_unknown_strategy_is_refused_and_a_known_one_taken(service: Service) -> None:
    caller = service.client()
    body = {"conversation_id": "c1", "content": "Hello!", "reply": {"strategy": "the best"}}
    refused = await caller.post("/v1/messages", body)
    assert refused.status == 422
    assert refused.json["errors"][0]["pointer"] == "/reply/strategy"
    for strategy in ("latency", "affinity", "round_robin", "weighted", "cost", "priority"):
        asked = await caller.ask("Hello!", f"c-{strategy}", reply={"strategy": strategy})
        assert (await caller.ended(asked["id"]))["status"] == "completed"


async def test_mistyped_model_fails_at_once_and_everybody_who_looks_is_told(
    start_service: StartService, model: FaultServer
) -> None:
    model.routes[CHAT] = [answer(404, {"error": {"code": "model_not_found", "message": "Model not found"}})]
    async with start_service(LM_STUDIO_URL=model.url, LM_STUDIO_MODEL="fualt") as service:
        caller = service.client()
        ended = await caller.ended((await caller.ask("Hello!", "c0"))["id"], seconds=30)
        assert (ended["status"], ended["error"]["code"]) == ("failed", "model_not_found")

        async def is_told() -> bool:
            told = await _provider(service)
            return told.get("reason") == "model_not_found" and "no model fualt (there are fault)" in told["detail"]

        await eventually(is_told, seconds=20, what="the API says why it is left alone, and what to correct")
        code, printed = await run(service.environment, "breakers")
        assert (code, "model_not_found" in printed) == (0, True)
        for look in ("list", "test"):
            code, printed = await run(service.environment | {"MESSAGE_SERVICE_LM_STUDIO_MODEL": "fualt"}, look)
            assert (code, "FAIL" in printed) == (1, True)
            assert "correct MESSAGE_SERVICE_LM_STUDIO_MODEL" in printed
