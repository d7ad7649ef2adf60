"""The queue's entry is settled when work begins, and nobody looks for what was left."""

from message_service.ids import ReplyId
from message_service.work.queue import Hint
from message_service.work.worker import Worker
from tests.chaos.seeded import job_only_in_redis, plant_in


def plant() -> None:
    job_only_in_redis.plant()
    see_through = Worker._see_through

    async def settle_first(worker: Worker, reply_id: ReplyId, hint: Hint | None) -> None:
        if hint is not None:
            worker._queue.settle(hint)
        await see_through(worker, reply_id, None)

    plant_in(Worker, _see_through=settle_first)
