"""taskiq with the stream broker of taskiq-redis and an empty task; no result backend, which is its default."""

import uvloop
from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

from bench.peers.jobs import Ledger, Task, ask, task_from_arguments


async def main(task: Task) -> None:
    ledger = Ledger(task)

    async def note(asked_at: float) -> None:
        ledger.note(asked_at)

    # From the beginning: by default its group misses what was asked for before the first worker came.
    broker = RedisStreamBroker(task.url, queue_name=task.queue, consumer_id="0")
    job = broker.register_task(note, "job")
    await broker.startup()
    if task.is_worker:
        ledger.open()
        await run_receiver_task(broker, max_async_tasks=task.concurrency)
    else:
        await ask(task, job.kiq)
    await broker.shutdown()


if __name__ == "__main__":
    uvloop.run(main(task_from_arguments()))
