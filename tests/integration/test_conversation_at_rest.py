"""Everything that can happen to a conversation, all at once: when it is over, all counts are right."""

import asyncio
import random
from contextlib import suppress

import pytest

from message_service.errors import ClaimLost, ReplyNotCancellable
from message_service.ids import WorkerId
from message_service.messages.reply import Reply, WorkKind
from message_service.store.database import Database
from tests.fixtures.samples import USER, completed, failed
from tests.integration.steps import Steps

REPLIES = 14


class Bustle:
    """Workers that finish, fail, hand back, lose their claims; callers that cancel and post."""

    def __init__(self, steps: Steps, seed: int) -> None:
        self._steps = steps
        self._dice = random.Random(seed)

    async def work(self, worker: WorkerId) -> None:
        """Until nothing is left to do."""
        replies = self._steps.database.replies
        while await replies.count_documents({"status": {"$in": ["queued", "running"]}}):
            for reply_id in await self._steps.claims.lost_ones(tuple(WorkKind), limit=5):
                claimed = await self._steps.claims.claim(reply_id, worker)
                if claimed is not None:
                    await self._end_somehow(claimed, worker)

    async def _end_somehow(self, claimed: Reply, worker: WorkerId) -> None:
        chance = self._dice.random()
        if chance < 0.2:
            await self._steps.claims.hand_back(claimed, delay_seconds=0, is_attempt_counted=True)
        elif chance < 0.4:
            await self._steps.claims.expire(worker)  # it lies down, and another may take over
        with suppress(ClaimLost):
            await self._steps.finishing.finish(claimed, completed() if chance < 0.8 else failed())

    async def cancel(self, replies: list[Reply]) -> None:
        for reply in replies:
            with suppress(ReplyNotCancellable):
                await self._steps.finishing.cancel(reply.id, USER)

    async def post(self, count: int) -> None:
        for number in range(count):
            await self._steps.post(f"post {number}")


@pytest.mark.parametrize("seed", range(4))
async def test_conversation_is_at_rest_when_everything_has_ended_in_any_order(
    steps: Steps, database: Database, seed: int
) -> None:
    replies = [await steps.ask(str(number)) for number in range(REPLIES)]
    bustle = Bustle(steps, seed)
    async with asyncio.timeout(30):
        await asyncio.gather(
            *(bustle.work(WorkerId(f"wrk_{number}")) for number in range(3)),
            bustle.cancel(replies[::4]),
            bustle.post(8),
        )
    rows = await database.messages.find(sort=[("seq", 1)]).to_list()
    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    answers = [row["_id"] for row in rows if row["role"] == "assistant"]
    with_text = await database.replies.find({"status": "completed"}, {"_id": 1}, sort=[("turn", 1)]).to_list()
    assert answers == [row["_id"] for row in with_text], "answers stand in the order of their questions"
    conversation = await steps.conversation()
    assert (conversation.reserved, conversation.active_reply, conversation.waiting_replies) == (0, None, 0)
    assert conversation.last_seq == len(rows)
    assert await database.usage.count_documents({}) == len(answers)
    assert await database.audit.count_documents({"action": "reply.ended"}) == REPLIES
