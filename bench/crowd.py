"""A thousand people watching a thousand replies being written at the same time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import uvloop

from bench.conversation import Watched, ask_and_watch
from bench.processes import cpu_seconds, memory_megabytes
from bench.stack import Served

STREAMS = 1000
_ARRIVAL_SECONDS = 5.0
_SETTLING_SECONDS = 1.0
_LEAVING_SECONDS = 1.0


@dataclass(slots=True)
class Crowd:
    """What was seen while all streams were in flight."""

    watched: list[Watched] = field(default_factory=list)
    ages_ms: list[float] = field(default_factory=list)
    """From the model server's send to the watcher's receipt, each token of the window."""
    cpu_us_per_token: float = 0.0
    memory_megabytes: float = 0.0
    """The most there was."""

    @property
    def whole(self) -> int:
        return sum(each.is_whole for each in self.watched)


def run_crowd(api: Served, worker_pid: int, *, run: str, reply_seconds: float) -> Crowd:
    """People arrive over five seconds. Measured is from when all are there until the first may leave.

    Replies must last `reply_seconds`. Raises `RequestFailed`.
    """
    return uvloop.run(_run(api, worker_pid, run, reply_seconds))


async def _run(api: Served, worker_pid: int, run: str, reply_seconds: float) -> Crowd:
    crowd = Crowd()
    is_open = False

    def on_ages(ages: list[float]) -> None:
        if is_open:
            crowd.ages_ms.extend(ages)

    async def take_part(number: int) -> Watched:
        await asyncio.sleep(number / STREAMS * _ARRIVAL_SECONDS)
        return await ask_and_watch(api, f"crowd-{run}-{number}", "Please tell me a long story.", on_ages)

    people = [asyncio.create_task(take_part(number)) for number in range(STREAMS)]
    await _unless_failed(people, _ARRIVAL_SECONDS + _SETTLING_SECONDS)
    pids = [*api.pids, worker_pid]
    cpu_before, is_open = cpu_seconds(pids), True
    for _ in range(int(reply_seconds - _ARRIVAL_SECONDS - _SETTLING_SECONDS - _LEAVING_SECONDS)):
        await _unless_failed(people, 1)
        crowd.memory_megabytes = max(crowd.memory_megabytes, memory_megabytes(pids))
    cpu, is_open = cpu_seconds(pids) - cpu_before, False
    crowd.watched = await asyncio.gather(*people)
    crowd.cpu_us_per_token = cpu / max(1, len(crowd.ages_ms)) * 1e6
    return crowd


async def _unless_failed(people: Sequence[asyncio.Task[Watched]], seconds: float) -> None:
    done, _ = await asyncio.wait(people, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()
