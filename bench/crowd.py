"""Many people watching as many replies being written at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import uvloop

from bench.conversation import OnAges, ask_and_watch
from bench.processes import cpu_seconds, memory_megabytes
from bench.stack import Served

STREAMS = 1000
_ARRIVAL_SECONDS = 5.0
_SETTLING_SECONDS = 1.0
_LEAVING_SECONDS = 1.0

TakePart = Callable[[int, OnAges], Awaitable[bool]]
"""What the person of that number does; answers whether the reply came whole."""


@dataclass(slots=True)
class Crowd:
    """What was seen while all streams were in flight."""

    whole: int = 0
    ages_ms: list[float] = field(default_factory=list)
    """From the model server's send to the watcher's receipt, each token of the window."""
    cpu_us_per_token: float = 0.0
    memory_megabytes: float = 0.0
    """The most there was."""

    def age_ms(self, percent: int) -> float:
        ages = sorted(self.ages_ms)
        return ages[min(len(ages) - 1, len(ages) * percent // 100)]


def run_crowd(take_part: TakePart, pids: Sequence[int], *, streams: int, reply_seconds: float) -> Crowd:
    """People arrive over five seconds. Measured is from when all are there until the first may leave.

    Replies must last `reply_seconds`. `pids` are charged. Raises `RequestFailed`.
    """
    return uvloop.run(_run(take_part, pids, streams, reply_seconds))


def people_of(api: Served, run: str) -> TakePart:
    """Each a user of this service."""

    async def take_part(number: int, on_ages: OnAges) -> bool:
        return (await ask_and_watch(api, f"crowd-{run}-{number}", "Please tell me a long story.", on_ages)).is_whole

    return take_part


async def _run(take_part: TakePart, pids: Sequence[int], streams: int, reply_seconds: float) -> Crowd:
    crowd = Crowd()
    is_open = False

    def on_ages(ages: list[float]) -> None:
        if is_open:
            crowd.ages_ms.extend(ages)

    async def arrive(number: int) -> bool:
        await asyncio.sleep(number / streams * _ARRIVAL_SECONDS)
        return await take_part(number, on_ages)

    people = [asyncio.create_task(arrive(number)) for number in range(streams)]
    await _unless_failed(people, _ARRIVAL_SECONDS + _SETTLING_SECONDS)
    cpu_before, is_open = cpu_seconds(pids), True
    for _ in range(int(reply_seconds - _ARRIVAL_SECONDS - _SETTLING_SECONDS - _LEAVING_SECONDS)):
        await _unless_failed(people, 1)
        crowd.memory_megabytes = max(crowd.memory_megabytes, memory_megabytes(pids))
    cpu, is_open = cpu_seconds(pids) - cpu_before, False
    crowd.whole = sum(await asyncio.gather(*people))
    crowd.cpu_us_per_token = cpu / max(1, len(crowd.ages_ms)) * 1e6
    return crowd


async def _unless_failed(people: Sequence[asyncio.Task[bool]], seconds: float) -> None:
    done, _ = await asyncio.wait(people, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()
