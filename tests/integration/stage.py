"""An API and workers below HTTP: wired as they are deployed, on the same stores, in one event loop."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio

from message_service.context.tokens import TokenCounter
from message_service.embedded.servers import EmbeddedServers
from message_service.ids import ConversationId, ReplyId
from message_service.journey.cancel import cancel
from message_service.journey.submit import PostedMessage, submit
from message_service.journey.watch import Closed, Sight, watch
from message_service.live.event import START, Placed, Position, Reset, Text
from message_service.messages.reply import Asked, Reply, WorkKind
from message_service.relay import Relay
from message_service.settings import Settings
from message_service.store.database import Database
from message_service.store.replies import ReplyWithMessage
from message_service.wiring import api as api_wiring
from message_service.wiring import worker as worker_wiring
from message_service.wiring.api import ApiServices, open_api
from message_service.wiring.worker import open_worker
from message_service.work import queue as queue_module
from message_service.work.worker import Worker
from tests.fixtures.samples import CONVERSATION, USER
from tests.fixtures.waiting import eventually

_LONGEST_STORY_SECONDS = 20


class Stage:
    def __init__(self, settings: Settings, api: ApiServices) -> None:
        self.settings = settings
        self.api = api

    async def ask(
        self, content: str, *, conversation_id: ConversationId = CONVERSATION, asked: Asked | None = None
    ) -> Reply:
        posted = PostedMessage(user_id=USER, conversation_id=conversation_id, content=content, asked=asked or Asked())
        receipt = await submit(posted, claim=None, desk=self.api.desk)
        assert receipt.accepted.reply is not None
        return receipt.accepted.reply

    async def cancel(self, reply: Reply) -> Reply:
        return await cancel(reply.id, USER, desk=self.api.cancelling)

    async def found(self, reply_id: ReplyId) -> ReplyWithMessage:
        return await self.api.replies.find_visible(reply_id, USER)

    async def ended(self, reply: Reply) -> ReplyWithMessage:
        """The reply, once it has ended."""

        async def look() -> ReplyWithMessage | None:
            found = await self.found(reply.id)
            return found if found.reply.is_terminal else None

        found = await eventually(look, seconds=_LONGEST_STORY_SECONDS, what="the reply has ended")
        assert found is not None
        return found

    async def has_text(self, reply: Reply, characters: int = 1) -> str:
        """The text so far, once there is so much."""

        async def look() -> str:
            text = await self.api.channel.text_so_far(reply.id)
            return text if len(text) >= characters else ""

        return await eventually(look, seconds=_LONGEST_STORY_SECONDS, what=f"there are {characters} characters")

    async def watch(
        self, reply: Reply, after: Position = START, *, seconds: float = _LONGEST_STORY_SECONDS
    ) -> list[Sight]:
        """Everything a watcher sees from that position to the end."""
        sights: list[Sight] = []
        async with (
            asyncio.timeout(seconds),
            self.api.follower.subscribe(reply.id, after=after) as subscription,
        ):
            found = await self.found(reply.id)
            async with aclosing(watch(found, after, subscription=subscription, desk=self.api.watching)) as seen:
                async for sight in seen:
                    sights.append(sight)
        return sights

    @asynccontextmanager
    async def worker(self, kinds: Sequence[WorkKind] = tuple(WorkKind), **changes: Any) -> AsyncIterator[Worker]:
        """A running worker, its settings changed as told; stopped as by SIGTERM."""
        async with open_worker(self.settings.model_copy(update=changes), kinds) as worker:
            running = asyncio.create_task(worker.run())
            try:
                yield worker
            finally:
                worker.stop()
                async with asyncio.timeout(_LONGEST_STORY_SECONDS):
                    await running


async def rested(worker: Worker, *, seconds: float) -> None:
    """Wait until the worker is at nothing."""

    async def is_at_nothing() -> bool:
        return not worker.in_process

    await eventually(is_at_nothing, seconds=seconds, what="the worker is at nothing")


def shown_text(sights: Sequence[Sight]) -> str:
    """What a client has that joins the deltas since the last reset."""
    text = ""
    for sight in sights:
        if isinstance(sight, Placed) and isinstance(sight.event, Reset):
            text = ""
        elif isinstance(sight, Placed) and isinstance(sight.event, Text):
            text += sight.event.text
    return text


def positions(sights: Sequence[Sight]) -> list[Position]:
    return [sight.position for sight in sights if isinstance(sight, Placed | Closed)]


def stored_text(found: ReplyWithMessage) -> str:
    return found.message.content if found.message is not None else ""


@asynccontextmanager
async def open_stage(**settings: Any) -> AsyncIterator[Stage]:
    chosen = Settings(_env_file=None, **settings)
    async with open_api(chosen) as api:
        yield Stage(chosen, api)


@pytest.fixture(scope="session")
def token_counter() -> TokenCounter:
    return TokenCounter()


@pytest.fixture
def stores_of_the_stage(
    servers: EmbeddedServers,
    database: Database,
    relay: Relay,
    redis_url: str,
    token_counter: TokenCounter,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, Any]:
    """Settings that lead to both stores, which are empty."""
    # A worker's reader looks up this often to see whether it is to stop.
    monkeypatch.setattr(queue_module, "BLOCK_SECONDS", 0.1)
    # One for all: building it takes longer than most of these tests.
    for part in (api_wiring, worker_wiring):
        monkeypatch.setattr(part, "TokenCounter", lambda: token_counter)
    return {
        "mongodb_url": servers.mongodb_url,
        "mongodb_database": database.database.name,
        "redis_url": redis_url,
        "scripted_tokens_per_second": 100_000,
        "rate_limit_per_minute": 1_000,
    }


@pytest_asyncio.fixture
async def stage(stores_of_the_stage: dict[str, Any]) -> AsyncIterator[Stage]:
    async with open_stage(**stores_of_the_stage) as opened:
        yield opened
