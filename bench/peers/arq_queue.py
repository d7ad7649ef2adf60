"""arq with an empty job, as its documentation sets it up."""

import asyncio
from typing import Any

import uvloop
from arq import Worker, create_pool
from arq.connections import RedisSettings
from arq.worker import func

from bench.peers.jobs import Ledger, Task, ask, task_from_arguments


def work(task: Task) -> None:
    ledger = Ledger(task)

    async def job(_: dict[Any, Any], asked_at: float) -> None:
        ledger.note(asked_at)

    async def open_ledger(_: dict[Any, Any]) -> None:
        ledger.open()

    asyncio.set_event_loop(uvloop.new_event_loop())
    Worker(
        [func(job, name="job")],
        redis_settings=RedisSettings.from_dsn(task.url),
        queue_name=task.queue,
        max_jobs=task.concurrency,
        on_startup=open_ledger,
    ).run()


async def ask_for_jobs(task: Task) -> None:
    pool = await create_pool(RedisSettings.from_dsn(task.url), default_queue_name=task.queue)
    await ask(task, lambda asked_at: pool.enqueue_job("job", asked_at))
    await pool.aclose()


if __name__ == "__main__":
    given = task_from_arguments()
    if given.is_worker:
        work(given)
    else:
        uvloop.run(ask_for_jobs(given))
