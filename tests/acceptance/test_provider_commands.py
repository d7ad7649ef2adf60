"""`message-service providers`: what a person is shown, and the exit codes scripts go by."""

import asyncio
import sys
from collections.abc import Mapping

from tests.contract.providers.fault_server import (
    CHAT,
    DONE,
    MODELS,
    FaultServer,
    answer,
    delta,
    lm_studio_models,
    stream_head,
)
from tests.fixtures.service import StartService
from tests.fixtures.waiting import eventually


async def run(environment: Mapping[str, str], *words: str) -> tuple[int | None, str]:
    """Its exit code, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "message_service",
        "providers",
        *words,
        env=dict(environment),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        printed, _ = await process.communicate()
    return process.returncode, printed.decode()


async def test_provider_is_listed_tried_and_watched_from_the_command_line(start_service: StartService) -> None:
    said = [stream_head(), delta("Ready."), delta(finish="stop"), DONE]
    async with (
        FaultServer({CHAT: said, MODELS: [lm_studio_models(fault=32_000)]}) as model,
        start_service(apis=0, workers=1, LM_STUDIO_URL=model.url) as service,
    ):
        environment = service.environment | {"MESSAGE_SERVICE_LM_STUDIO_URL": model.url}
        code, printed = await run(environment, "list")
        assert code == 0
        assert printed.startswith(f"lm_studio ({model.url.removeprefix('http://')})  tier 1  ok")
        code, printed = await run(environment, "test", "lm_studio")
        assert (code, printed.startswith("lm_studio  ok  fault,"), "Ready." in printed) == (0, True, True)

        async def is_told() -> bool:
            code, printed = await run(environment, "breakers")
            return code == 0 and "closed" in printed

        await eventually(is_told, seconds=60, what="the worker tells of its provider")
    code, printed = await run(environment, "test")
    assert code == 1
    assert "FAIL" in printed


async def test_each_host_is_tried_by_itself_when_another_could_answer_for_it(start_service: StartService) -> None:
    said = [stream_head(), delta("Ready."), delta(finish="stop"), DONE]
    async with (
        FaultServer({CHAT: [answer(529, b"")], MODELS: [lm_studio_models(fault=32_000)]}) as first,
        FaultServer({CHAT: said, MODELS: [lm_studio_models(fault=32_000)]}) as second,
        start_service(apis=0, workers=0) as service,
    ):
        environment = service.environment | {"MESSAGE_SERVICE_LM_STUDIO_URL": f"{first.url},{second.url}"}
        code, printed = await run(environment, "test", "lm_studio")
        assert (code, [line.split("  ")[:2] for line in printed.splitlines()]) == (
            1,
            [["lm_studio", "FAIL"], ["lm_studio-2", "ok"]],
        )
        code, printed = await run(environment, "test", "lm_studio-2")
        assert (code, printed.startswith("lm_studio-2  ok")) == (0, True)
        code, printed = await run(environment, "test", "grok")
        assert (code, printed) == (1, "There is no provider 'grok'; there are lm_studio, lm_studio-2.\n")


async def test_breakers_are_unknown_when_no_worker_runs(start_service: StartService) -> None:
    async with start_service(apis=0, workers=0) as service:
        code, printed = await run(service.environment, "breakers")
    assert code == 1
    assert "No worker is running" in printed
