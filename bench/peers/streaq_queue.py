"""streaq with an empty task, as its documentation sets it up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvloop
from streaq import Worker

from bench.peers.jobs import Ledger, Task, ask, task_from_arguments


async def main(task: Task) -> None:
    ledger = Ledger(task)

    @asynccontextmanager
    async def open_ledger() -> AsyncIterator[None]:
        ledger.open()
        yield

    async def job(asked_at: float) -> None:
        ledger.note(asked_at)

    worker = Worker(redis_url=task.url, queue_name=task.queue, concurrency=task.concurrency, lifespan=open_ledger)
    registered = worker.task(job)
    if task.is_worker:
        await worker.run_async()
    else:
        async with worker:
            await ask(task, registered.enqueue)


if __name__ == "__main__":
    uvloop.run(main(task_from_arguments()))
