"""What the programs of the queue peers have in common: their arguments, when to ask, and noting when jobs start."""

import argparse
import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

URL_VARIABLE = "BENCH_REDIS_URL"
_ASKING_AT_ONCE = 32

Enqueue = Callable[[float], Awaitable[object]]
"""Puts one job into the queue; the argument is the time it is asked for, which the job is to note."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a program is started for: to work until it is told to stop, or to ask for `count` jobs and end."""

    is_worker: bool
    queue: str
    count: int
    concurrency: int
    per_second: float
    """0: as fast as it goes."""
    ledger: Path

    @property
    def url(self) -> str:
        return os.environ[URL_VARIABLE]


def task_from_arguments() -> Task:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("role", choices=["work", "ask"])
    arguments.add_argument("queue")
    arguments.add_argument("count", type=int)
    arguments.add_argument("--concurrency", type=int, default=1)
    arguments.add_argument("--per-second", type=float, default=0)
    arguments.add_argument("--ledger", type=Path, default=Path(os.devnull))
    given = arguments.parse_args()
    return Task(given.role == "work", given.queue, given.count, given.concurrency, given.per_second, given.ledger)


class Ledger:
    """When each job was asked for and when it started, in seconds of `time.time`; a file once all have started."""

    def __init__(self, task: Task) -> None:
        self._path = task.ledger
        self._count = task.count
        self._rows: list[tuple[float, float]] = []

    def open(self) -> None:
        """The worker is about to take its first job."""
        self._path.with_suffix(".ready").touch()

    def note(self, asked_at: float) -> None:
        self._rows.append((asked_at, time.time()))
        if len(self._rows) == self._count:
            unfinished = self._path.with_suffix(".part")
            unfinished.write_text(json.dumps(self._rows))
            unfinished.rename(self._path)


async def ask(task: Task, enqueue: Enqueue) -> None:
    """Ask for all jobs: at a steady pace whether or not earlier ones are in, or 32 at a time."""
    if task.per_second:
        begun = time.monotonic()
        asking = []
        for number in range(task.count):
            await asyncio.sleep(max(0.0, begun + number / task.per_second - time.monotonic()))
            asking.append(asyncio.create_task(_ask_once(enqueue)))
        await asyncio.gather(*asking)
        return
    left = iter(range(task.count))

    async def ask_on() -> None:
        for _ in left:
            await enqueue(time.time())

    await asyncio.gather(*(ask_on() for _ in range(_ASKING_AT_ONCE)))


async def _ask_once(enqueue: Enqueue) -> None:
    await enqueue(time.time())
