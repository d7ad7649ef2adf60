"""Five hundred replies over four model servers that die, stall, refuse and break off: each comes to a proper end."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from itertools import pairwise
from random import Random
from typing import Any

import pytest
import pytest_asyncio

from message_service.ids import ConversationId
from message_service.messages.reply import ReplyStatus
from message_service.providers.routing.retry_budget import RetryBudget
from message_service.wiring import worker as worker_wiring
from tests.contract.providers.fault_server import (
    CHAT,
    DONE,
    MODELS,
    FaultServer,
    Request,
    Silence,
    Step,
    answer,
    delta,
    lm_studio_models,
    stream_head,
    usage,
)
from tests.fixtures.waiting import eventually
from tests.integration.stage import Stage, open_stage, shown_text

REPLIES = 500
WORDS = 50
DEADLINE_SECONDS = 120
_WATCHED = 40


class FaultyServer(FaultServer):
    """A model server whose next misfortune is drawn by lot; each answer is unlike any other."""

    def __init__(self, name: str, dice: Random) -> None:
        super().__init__({MODELS: [lm_studio_models(fault=8192)], CHAT: self.play})
        self.name = name
        self.answers = 0
        self._dice = dice

    def play(self, _: Request) -> Sequence[Step]:
        self.answers += 1
        words = [f"{self.name}.{self.answers}.{number} " for number in range(WORDS)]
        whole = [stream_head(), *map(delta, words)]
        match self._dice.choice(["well"] * 24 + ["429", "529", "stall", "stalled", "cut0", "cut1", "cut40", "last"]):
            case "429":
                return [answer(429, b"", {"Retry-After": "1"})]
            case "529":
                return [answer(529, b"")]
            case "stall":
                return [stream_head(), Silence()]
            case "stalled":
                return [*whole[:20], Silence()]
            case "cut0":
                return whole[:1]
            case "cut1":
                return whole[:2]
            case "cut40":
                return whole[:41]
            case "last":
                return whole
            case _:
                return [*whole, delta(finish="stop"), usage(20, WORDS), DONE]


class CountedBudget(RetryBudget):
    """A retry budget whose decisions are counted."""

    requests = 0
    retries = 0

    def request(self, at: float) -> None:
        CountedBudget.requests += 1
        super().request(at)

    def spend(self, at: float) -> bool:
        is_allowed = super().spend(at)
        CountedBudget.retries += is_allowed
        return is_allowed


@pytest_asyncio.fixture
async def model_servers() -> AsyncIterator[list[FaultyServer]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(FaultyServer(name, Random(ord(name)))) for name in "ABCD"]


@pytest_asyncio.fixture
async def stage(stores_of_the_stage: dict[str, Any], model_servers: list[FaultyServer]) -> AsyncIterator[Stage]:
    settings = stores_of_the_stage | {
        "lm_studio_url": tuple(server.url for server in model_servers),
        "lm_studio_model": "fault",
        "first_token_timeout_seconds": 2,
        "token_timeout_seconds": 2,
        "reply_deadline_seconds": DEADLINE_SECONDS,
        "max_attempts": 20,
        "breaker_open_seconds": 0.5,
    }
    async with open_stage(**settings) as opened:
        yield opened


async def test_every_reply_ends_whole_or_marked_within_its_deadline_when_providers_die(
    stage: Stage, model_servers: list[FaultyServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_wiring, "RetryBudget", CountedBudget)
    loop = asyncio.get_running_loop()

    async def has_ended() -> bool:
        return await stage.api.stores.database.replies.count_documents({"finished_at": {"$ne": None}}) == REPLIES

    async with stage.worker():
        began_at = loop.time()
        asked = await asyncio.gather(
            *(stage.ask("Hello!", conversation_id=ConversationId(f"c{number}")) for number in range(REPLIES))
        )
        watching = [
            asyncio.create_task(stage.watch(reply, seconds=DEADLINE_SECONDS + 30)) for reply in asked[:_WATCHED]
        ]
        await _until_asked(model_servers, 100)
        await model_servers[0].__aexit__(None, None, None)  # dies, and never comes back
        await eventually(has_ended, seconds=DEADLINE_SECONDS + 30, what="all have ended")
        seconds = loop.time() - began_at

    texts = [(await stage.found(reply.id)) for reply in asked]
    for found in texts:
        assert found.reply.finished_at is not None
        assert found.reply.finished_at <= found.reply.deadline
        assert found.message is not None
        _assert_of_one_piece(found.message.content, is_whole=found.reply.status is ReplyStatus.COMPLETED)
        log = found.reply.attempt_log
        assert (log[-1].error is None) == (found.reply.status is ReplyStatus.COMPLETED)
        assert all(attempt.error for attempt in log[:-1])
        assert all(one.ended_at <= following.started_at for one, following in pairwise(log))
        assert log[-1].provider == found.reply.provider

    for found, sights in zip(texts, await asyncio.gather(*watching), strict=False):
        assert found.message is not None
        assert shown_text(sights) == found.message.content

    attempts = sum(len(found.reply.attempt_log) for found in texts)
    reached = sum(server.answers for server in model_servers)
    assert attempts >= reached, "every request that reached a server is in a log"
    assert CountedBudget.retries <= 0.2 * CountedBudget.requests + 3 * (seconds + 10)
    incomplete = sum(found.reply.status is ReplyStatus.INCOMPLETE for found in texts)
    sys.stdout.write(
        f"{REPLIES} replies in {seconds:.1f} s, {incomplete} incomplete: {CountedBudget.requests} requests, "
        f"{attempts} attempts, {CountedBudget.retries} failovers\n"
    )


async def _until_asked(servers: Sequence[FaultyServer], times: int) -> None:
    async def look() -> bool:
        return sum(server.answers for server in servers) >= times

    await eventually(look, seconds=60, what=f"{times} requests have reached a server")


def _assert_of_one_piece(text: str, *, is_whole: bool) -> None:
    """Words of one answer of one server, each once, from the first on."""
    words = re.findall(r"([A-D])\.(\d+)\.(\d+)", text)
    assert len({(server, answer_) for server, answer_, _ in words}) == 1, text
    assert [int(number) for _, _, number in words] == list(range(len(words))), text
    assert len(words) == WORDS or not is_whole, text
