"""Workers that are told to stop: they finish what they can, hand back the rest, and do not stay for ever."""

import asyncio

import pytest

from message_service.errors import StoreUnavailable
from message_service.ids import ConversationId, ReplyId
from message_service.live.event import Reset
from message_service.messages.reply import ReplyStatus, WorkKind
from message_service.relay import Relay
from message_service.store import finish as finish_module
from message_service.work import queue as queue_module
from message_service.work import worker as worker_module
from message_service.work.held import HeldReplies
from message_service.work.queue import WorkQueue
from message_service.work.worker import Duties, Pace, Worker
from tests.fixtures.broken_transactions import break_transactions
from tests.integration.stage import Stage, rested, shown_text, stored_text
from tests.integration.steps import OTHER_WORKER, Steps


async def test_reply_is_handed_back_when_its_worker_drains(stage: Stage, steps: Steps) -> None:
    reply = await stage.ask("/script tokens=60 rate=60 say='Word by word'")
    async with stage.worker(drain_seconds=0.1):
        await stage.has_text(reply)
        watching = asyncio.create_task(stage.watch(reply))
    handed_back = await steps.reply(reply.id)
    assert (handed_back.status, handed_back.attempts, handed_back.owner) == (ReplyStatus.QUEUED, 0, None)
    async with stage.worker():
        found = await stage.ended(reply)
    assert (found.reply.status, found.reply.attempts, found.reply.epoch) == (ReplyStatus.COMPLETED, 1, 2)
    sights = await watching
    assert shown_text(sights) == stored_text(found)
    assert [sight for sight in sights if isinstance(getattr(sight, "event", None), Reset)]


async def test_reply_is_finished_when_it_can_be_done_before_a_worker_must_go(stage: Stage) -> None:
    reply = await stage.ask("/script tokens=30 rate=60")
    async with stage.worker(drain_seconds=10):
        await stage.has_text(reply)
    found = await stage.found(reply.id)
    assert (found.reply.status, found.reply.epoch) == (ReplyStatus.COMPLETED, 1)


async def test_worker_stops_when_the_store_is_away_at_the_end_of_a_reply(
    stage: Stage, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage.worker(drain_seconds=0.1) as worker:
        break_transactions(monkeypatch, finish_module, *[StoreUnavailable()] * 1_000)
        reply = await stage.ask("/script\nDone.")
        await stage.has_text(reply, len("Done."))
        worker.stop()
        async with asyncio.timeout(5):
            await rested(worker, seconds=5)
    left = await steps.reply(reply.id)
    assert (left.status, left.is_terminal) == (ReplyStatus.RUNNING, False)
    break_transactions(monkeypatch, finish_module)
    assert left.owner is not None
    await steps.claims.expire(left.owner)
    async with stage.worker():
        assert stored_text(await stage.ended(reply)) == "Done."


async def test_worker_stops_when_an_answer_does_not_end(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "_HAND_BACK_SECONDS", 0.3)
    monkeypatch.setattr(queue_module, "BLOCK_SECONDS", 0.1)
    begun = asyncio.Event()

    async def answer(_: ReplyId) -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    async def find_one(_: int) -> list[ReplyId]:
        return [ReplyId("msg_any")]

    async def do_nothing() -> None:
        return

    worker = Worker(
        OTHER_WORKER,
        tuple(WorkKind),
        queue=WorkQueue(relay),
        held=HeldReplies(),
        duties=Duties(
            answer=answer, find_lost=find_one, renew=do_nothing, look_for_cancels=do_nothing, repair=do_nothing
        ),
        pace=Pace(capacity=1, sweep_seconds=60, renew_seconds=60, repair_seconds=60, drain_seconds=0.1),
    )
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(10):
        await begun.wait()
        worker.stop()
        await running
    assert worker.in_process == 0


async def test_nothing_new_is_begun_when_a_worker_stops(stage: Stage, steps: Steps) -> None:
    async with stage.worker(drain_seconds=10) as worker:
        running = await stage.ask("/script tokens=60 rate=100")
        await stage.has_text(running)
        worker.stop()
        await asyncio.sleep(0.2)  # its reader has looked up by then
        late = await stage.ask("Hello!", conversation_id=ConversationId("conv-2"))
        await stage.ended(running)
    assert (await steps.reply(late.id)).status is ReplyStatus.QUEUED


async def test_worker_stops_at_once_when_it_has_nothing_to_do(stage: Stage) -> None:
    loop = asyncio.get_running_loop()
    async with stage.worker() as worker:
        assert worker.in_process == 0
        stopped_at = loop.time()
    assert loop.time() - stopped_at < 2
