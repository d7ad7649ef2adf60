"""A backlog at a model server of one slot, as those who asked see it: their order is that of the queue."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, ClassVar

import orjson
import pytest

from message_service.ids import ConversationId
from message_service.journey.submit import PostedMessage, ask_again, submit
from message_service.live.event import Placed, Reset
from message_service.messages.reply import Asked, Reply, ReplyError, ReplyStatus, WorkKind
from message_service.providers.routing import admission
from message_service.providers.routing.waiting_line import WaitingLine
from message_service.store.database import Database
from tests.contract.providers.fault_server import (
    CHAT,
    MODELS,
    WELL,
    FaultServer,
    Request,
    Step,
    Until,
    lm_studio_models,
)
from tests.fixtures.samples import USER
from tests.fixtures.waiting import eventually
from tests.integration.stage import Stage, open_stage, shown_text


class OneSlot(FaultServer):
    """Answers nobody before `may_go_on`, and remembers the last words of whom it was asked for."""

    def __init__(self) -> None:
        super().__init__({MODELS: [lm_studio_models(fault=8192)], CHAT: self._answer})
        self.may_go_on = asyncio.Event()
        self.answered: list[str] = []

    def _answer(self, request: Request) -> list[Step]:
        self.answered.append(orjson.loads(request.body)["messages"][-1]["content"])
        return [Until(self.may_go_on), *WELL]

    async def is_asked(self) -> bool:
        return bool(self.answered)


class ObservedLine(WaitingLine[Any]):
    """A line in which tests see how many wait."""

    lengths: ClassVar[list[Callable[[], int]]] = []

    def __init__(self) -> None:
        super().__init__()
        self.lengths.append(self.__len__)


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Awaitable[bool]]:
    """Returns once so many replies wait for room."""
    monkeypatch.setattr(ObservedLine, "lengths", [])
    monkeypatch.setattr(admission, "WaitingLine", ObservedLine)

    async def until(number: int) -> bool:
        async def look() -> bool:
            return sum(length() for length in ObservedLine.lengths) == number

        return await eventually(look, seconds=20, what=f"{number} replies wait for room")

    return until


def over(server: OneSlot, stores: dict[str, Any], **more: Any) -> dict[str, Any]:
    settings = {"lm_studio_url": (server.url,), "lm_studio_model": "fault", "provider_concurrency": {"lm_studio": 1}}
    return stores | settings | more


async def ask(stage: Stage, text: str) -> Reply:
    return await stage.ask(text, conversation_id=ConversationId(text))


async def ask_as(kind: WorkKind, stage: Stage, text: str, database: Database) -> Reply:
    """As somebody asks for another answer, or as background work does."""
    first = await ask(stage, text)
    await stage.cancel(first)
    receipt = await ask_again(first.message_id, USER, Asked(), claim=None, desk=stage.api.desk)
    assert receipt.accepted.reply is not None
    await database.replies.update_one({"_id": receipt.accepted.reply.id}, {"$set": {"kind": kind.value}})
    return receipt.accepted.reply


async def test_replies_go_before_variants_and_those_before_summaries_when_all_wait_for_one_slot(
    stores_of_the_stage: dict[str, Any], database: Database, wait: Callable[[int], Awaitable[bool]]
) -> None:
    async with OneSlot() as server, open_stage(**over(server, stores_of_the_stage)) as stage:
        summaries = [await ask_as(WorkKind.SUMMARY, stage, f"summary {number}", database) for number in range(3)]
        variants = [await ask_as(WorkKind.VARIANT, stage, f"variant {number}", database) for number in range(3)]
        async with stage.worker():
            await wait(5)  # one of the six has the slot
            replies = [await ask(stage, f"reply {number}") for number in range(3)]
            await wait(8)
            watching = asyncio.create_task(stage.watch(replies[-1]))
            server.may_go_on.set()
            for reply in [*replies, *variants, *summaries]:
                found = await stage.ended(reply)
                assert found.reply.status is ReplyStatus.COMPLETED
                assert found.reply.epoch == 1, "nobody was sent away"
            sights = await watching
    (holder,) = server.answered[:1]
    in_order = [f"{kind.value} {number}" for kind in WorkKind for number in range(3)]
    assert server.answered[1:] == [text for text in in_order if text != holder]
    assert shown_text(sights) == "Hello"
    assert not [sight for sight in sights if isinstance(sight, Placed) and isinstance(sight.event, Reset)]


async def test_reply_says_what_held_it_up_when_its_deadline_comes_while_it_waits(
    stores_of_the_stage: dict[str, Any],
) -> None:
    async with OneSlot() as server, open_stage(**over(server, stores_of_the_stage)) as stage, stage.worker():
        await ask(stage, "first")
        await eventually(server.is_asked, seconds=20, what="the slot is taken")
        hurried = replace(stage.api.desk, reply_deadline_seconds=1)
        posted = PostedMessage(user_id=USER, conversation_id=ConversationId("second"), content="second", asked=Asked())
        receipt = await submit(posted, claim=None, desk=hurried)
        assert receipt.accepted.reply is not None
        found = await stage.ended(receipt.accepted.reply)
        server.may_go_on.set()
    assert found.reply.error == ReplyError(
        "deadline_exceeded",
        "The reply was not finished before its deadline. What held it up: No provider can answer now.",
    )
    assert not found.reply.attempt_log
