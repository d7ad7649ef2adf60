"""The sides of the `queue` benchmark: this service, and task queues with an empty job, all on the same Redis."""

import asyncio
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson
import uvloop
from pymongo import MongoClient

from bench import client
from bench.peer import peer_python
from bench.peers.jobs import URL_VARIABLE
from bench.processes import ServerProcess, cpu_seconds
from bench.stack import Served, Stores, clean_environment, work_ours

CONCURRENCY = 100
"""Jobs in process at a time, on every side. arq's rate depends on it: it takes so many times five every half second."""

_DATABASE = "bench"
_ANSWER_AT_ONCE = '/script rate=max say="Done."'
_SETTINGS = {"MESSAGE_SERVICE_PROVIDERS": "scripted", "MESSAGE_SERVICE_MAX_IN_PROCESS": str(CONCURRENCY)}
_ASKING_AT_ONCE = 32
_LONGEST_RUN_SECONDS = 120
_SETTLING_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Drained:
    """A backlog worked off by a worker that was started after all of it had been asked for."""

    per_second: float
    """Between the first start and the last."""
    worker_cpu_us: float
    store_cpu_us: float
    """Of the database servers, for each job."""


class QueueSide(Protocol):
    name: str

    def pace(self, run: str, *, per_second: float, count: int) -> list[float]:
        """Ask at a steady rate, with an idle worker; milliseconds from asking until the job starts, in order."""

    def drain(self, run: str, *, count: int) -> Drained:
        """Ask for all of it without a worker, then start one."""


class OurQueue:
    """Asked over HTTP: a reply that counts is one that a majority has stored. Started is when the worker's claim is."""

    name = "ours"

    def __init__(self, stores: Stores, api: Served) -> None:
        self._stores = stores
        self._api = api

    def pace(self, run: str, *, per_second: float, count: int) -> list[float]:
        with work_ours(self._stores, settings=_SETTINGS), self._store() as store:
            asked = uvloop.run(self._ask_steadily(run, per_second, count))
            self._wait_until_answered(store)
            started = {
                row["_id"]: row["started_at"].timestamp()
                for row in store[_DATABASE].replies.find({"_id": {"$in": list(asked)}}, {"started_at": 1})
            }
        return [(started[reply_id] - asked_at) * 1000 for reply_id, asked_at in asked.items()]

    def drain(self, run: str, *, count: int) -> Drained:
        asked = uvloop.run(self._ask_all(run, count))
        with work_ours(self._stores, settings=_SETTINGS) as worker, self._store() as store:
            before = _readings(worker, self._stores)
            self._wait_until_answered(store)
            after = _readings(worker, self._stores)
            rows = list(store[_DATABASE].replies.find({"_id": {"$in": asked}}))
        if any(row["status"] != "completed" for row in rows):
            raise RuntimeError("a reply was not completed")
        seconds = max(row["started_at"] for row in rows) - min(row["started_at"] for row in rows)
        return _drained(count, seconds.total_seconds(), before, after)

    async def _ask_steadily(self, run: str, per_second: float, count: int) -> dict[str, float]:
        asked: dict[str, float] = {}

        async def ask(number: int) -> None:
            asked_at = time.time()
            asked[await self._ask(run, number)] = asked_at

        begun = time.monotonic()
        asking = []
        for number in range(count):
            await asyncio.sleep(max(0.0, begun + number / per_second - time.monotonic()))
            asking.append(asyncio.create_task(ask(number)))
        await asyncio.gather(*asking)
        return dict(sorted(asked.items(), key=lambda each: each[1]))

    async def _ask_all(self, run: str, count: int) -> list[str]:
        numbers = iter(range(count))

        async def ask_on() -> list[str]:
            return [await self._ask(run, number) for number in numbers]

        return [each for some in await asyncio.gather(*(ask_on() for _ in range(_ASKING_AT_ONCE))) for each in some]

    async def _ask(self, run: str, number: int) -> str:
        """Each in a conversation of its own: a conversation's replies come one after another."""
        body = {"conversation_id": f"c-{run}-{number}", "content": _ANSWER_AT_ONCE, "reply": {}}
        request = client.post("/v1/messages", body, f"u-{run}-{number}")
        return str(orjson.loads(await client.fetch(self._api.port, request, expected_status=202))["reply"]["id"])

    def _store(self) -> MongoClient[dict[str, Any]]:
        return MongoClient(self._stores.mongodb_url, tz_aware=True)

    def _wait_until_answered(self, store: MongoClient[dict[str, Any]]) -> None:
        """Asks by the partial indexes, which are empty in the end: a scan would be charged to the store."""
        replies = store[_DATABASE].replies
        _wait_until(
            lambda: (
                replies.find_one({"status": "queued", "is_next": True}, {"_id": 1}, hint="ready") is None
                and replies.find_one({"status": "running"}, {"_id": 1}, hint="leases") is None
            )
        )


class PeerQueue:
    """A peer's program in `bench.peers`, run by the Python of the peer's own environment."""

    def __init__(self, name: str, stores: Stores, folder: Path) -> None:
        self.name = name
        self._stores = stores
        self._folder = folder
        self._python = peer_python(name)

    def pace(self, run: str, *, per_second: float, count: int) -> list[float]:
        ledger = self._folder / f"{self.name}-{run}-pace"
        with self._work(ledger, count) as worker:
            _wait_until(ledger.with_suffix(".ready").exists, worker)
            time.sleep(_SETTLING_SECONDS)
            self._ask(ledger.name, count, "--per-second", str(per_second))
            _wait_until(ledger.exists, worker)
        return [(started_at - asked_at) * 1000 for asked_at, started_at in sorted(orjson.loads(ledger.read_bytes()))]

    def drain(self, run: str, *, count: int) -> Drained:
        ledger = self._folder / f"{self.name}-{run}-drain"
        self._ask(ledger.name, count)
        with self._work(ledger, count) as worker:
            _wait_until(ledger.with_suffix(".ready").exists, worker)
            before = _readings(worker.pid, self._stores)
            _wait_until(ledger.exists, worker)
            time.sleep(_SETTLING_SECONDS)  # what follows the last start belongs to the price of it
            after = _readings(worker.pid, self._stores)
        starts = [started_at for _, started_at in orjson.loads(ledger.read_bytes())]
        return _drained(count, max(starts) - min(starts), before, after)

    def _work(self, ledger: Path, count: int) -> AbstractContextManager[ServerProcess]:
        command = [*self._command("work", ledger.name, count), "--ledger", str(ledger)]
        return ServerProcess(f"{self.name}'s worker", command, self._environment())

    def _ask(self, queue: str, count: int, *more: str) -> None:
        command = [*self._command("ask", queue, count), *more]
        asking = subprocess.run(command, env=self._environment(), capture_output=True, check=False)
        if asking.returncode != 0:
            raise RuntimeError(f"{self.name} cannot be asked:\n{asking.stderr.decode(errors='replace')[-4000:]}")

    def _command(self, role: str, queue: str, count: int) -> Sequence[str]:
        program = f"bench.peers.{self.name}_queue"
        return [self._python, "-m", program, role, queue, str(count), "--concurrency", str(CONCURRENCY)]

    def _environment(self) -> dict[str, str]:
        return clean_environment() | {URL_VARIABLE: self._stores.redis_url}


_Readings = tuple[float, float]


def _readings(worker_pid: int, stores: Stores) -> _Readings:
    return cpu_seconds([worker_pid]), cpu_seconds(stores.pids)


def _drained(count: int, seconds: float, before: _Readings, after: _Readings) -> Drained:
    worker_cpu, store_cpu = (late - early for early, late in zip(before, after, strict=True))
    return Drained((count - 1) / seconds, worker_cpu / count * 1e6, store_cpu / count * 1e6)


def _wait_until(is_done: Callable[[], bool], worker: ServerProcess | None = None) -> None:
    give_up_at = time.monotonic() + _LONGEST_RUN_SECONDS
    while not is_done():
        if worker is not None:
            worker.require_running()
        if time.monotonic() > give_up_at:
            raise RuntimeError(f"not done after {_LONGEST_RUN_SECONDS} s")
        time.sleep(0.05)
