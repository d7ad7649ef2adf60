"""A replica set of three loses its primary in every way there is, and no acknowledged message."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest_asyncio

from tests.acceptance.expectations import expect_problem
from tests.fixtures.client import Answer, Client
from tests.fixtures.replica_set import ReplicaSet
from tests.fixtures.service import Service, StartService
from tests.fixtures.waiting import eventually

_REFUSED_WITHIN_SECONDS = 6.0
_WRITERS = 4
_STEP_DOWNS = 3
_SECONDS_BETWEEN_STEP_DOWNS = 5.0


@pytest_asyncio.fixture(scope="module")
async def on_the_set(start_service: StartService, replica_set: ReplicaSet) -> AsyncIterator[Service]:
    async with start_service(
        workers=2, MONGODB_URL=replica_set.url, RATE_LIMIT_PER_MINUTE="100000", LEASE_SECONDS="3"
    ) as running:
        yield running


class SteadyWriters:
    """Users who write one message after the other, repeat what was not acknowledged, and keep a record."""

    def __init__(self, service: Service) -> None:
        self.clients = [service.client() for _ in range(_WRITERS)]
        self.acknowledged: dict[str, list[str]] = {client.headers["X-User-Id"]: [] for client in self.clients}
        self.acknowledged_at: list[float] = []
        self.refusals: list[tuple[int, float]] = []
        self.seconds: list[float] = []
        """Of every post, until its answer."""
        self._is_over = False
        self._clock = asyncio.get_running_loop().time

    async def write(self) -> None:
        async with asyncio.TaskGroup() as group:
            for client in self.clients:
                group.create_task(self._write(client))

    def stop(self) -> None:
        self._is_over = True

    def longest_gap(self) -> float:
        """Seconds in which nothing was acknowledged to anybody."""
        moments = self.acknowledged_at
        return max(later - earlier for earlier, later in pairwise(moments))

    async def _write(self, client: Client) -> None:
        number = 0
        while not self._is_over or not self.acknowledged[client.headers["X-User-Id"]]:
            number += 1
            body = {"conversation_id": "conv-1", "content": f"/script rate=max say=answer-{number}", "reply": {}}
            key = secrets.token_hex(8)
            while True:
                began_at = self._clock()
                answer = await client.post("/v1/messages", body, headers={"Idempotency-Key": key})
                self.seconds.append(self._clock() - began_at)
                if answer.status == 202:
                    self.acknowledged[client.headers["X-User-Id"]].append(answer.json["message"]["id"])
                    self.acknowledged_at.append(self._clock())
                    break
                self.refusals.append((answer.status, self._clock() - began_at))
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.05)

    async def expect_nothing_lost(self) -> None:
        """Everything acknowledged is there, in order, without gaps, and answered once."""
        assert all(status == 503 and seconds < _REFUSED_WITHIN_SECONDS for status, seconds in self.refusals), (
            self.refusals
        )
        for client in self.clients:
            wanted = self.acknowledged[client.headers["X-User-Id"]]
            messages = await _whole(client, count=2 * len(wanted))
            assert [message["seq"] for message in messages] == list(range(1, len(messages) + 1))
            assert [message["id"] for message in messages if message["role"] == "user"] == wanted
            answered = [message["reply_to"] for message in messages if message["role"] == "assistant"]
            assert answered == wanted


async def _is_stored(posting: Awaitable[tuple[Answer, float]]) -> bool:
    return (await posting)[0].status == 201


async def _whole(client: Client, *, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(90):
        while True:
            messages: list[dict[str, Any]] = []
            cursor: dict[str, str] = {}
            while True:
                page = await client.page(order="asc", limit="100", **cursor)
                messages += page["data"]
                if not page.get("has_more"):
                    break
                cursor = {"after": page["next_cursor"]}
            if len(messages) >= count:
                return messages
            await asyncio.sleep(0.3)


async def _through(
    service: Service, service_set: ReplicaSet, harm: Callable[[], object], *, seconds: float
) -> SteadyWriters:
    writers = SteadyWriters(service)
    writing = asyncio.create_task(writers.write())
    await asyncio.sleep(1)
    harm()
    began_at = asyncio.get_running_loop().time()
    await asyncio.to_thread(service_set.primary)
    print(f"elected after {asyncio.get_running_loop().time() - began_at:.1f} s")  # noqa: T201  # a figure for the runbook
    await asyncio.sleep(seconds)
    writers.stop()
    await asyncio.wait_for(writing, 60)
    return writers


async def test_nothing_is_lost_when_the_primary_is_killed(on_the_set: Service, replica_set: ReplicaSet) -> None:
    writers = await _through(on_the_set, replica_set, replica_set.primary().kill, seconds=9)
    print(f"killed: {writers.longest_gap():.1f} s without writes")  # noqa: T201  # a figure for the runbook
    assert writers.longest_gap() < 15
    await writers.expect_nothing_lost()
    replica_set.mend()


async def test_nothing_is_lost_when_the_primary_hangs(on_the_set: Service, replica_set: ReplicaSet) -> None:
    writers = await _through(on_the_set, replica_set, replica_set.primary().pause, seconds=14)
    print(f"paused: {writers.longest_gap():.1f} s without writes")  # noqa: T201  # a figure for the runbook
    assert writers.longest_gap() < 15
    replica_set.mend()
    await writers.expect_nothing_lost()


async def test_nothing_is_lost_when_the_primary_steps_down(on_the_set: Service, replica_set: ReplicaSet) -> None:
    writers = await _through(on_the_set, replica_set, replica_set.step_down, seconds=4)
    print(f"stepped down: {writers.longest_gap():.1f} s without writes")  # noqa: T201  # a figure for the runbook
    assert writers.longest_gap() < 10
    await writers.expect_nothing_lost()


async def test_hardly_anybody_notices_when_primaries_step_down_again_and_again(
    on_the_set: Service, replica_set: ReplicaSet
) -> None:
    writers = SteadyWriters(on_the_set)
    writing = asyncio.create_task(writers.write())
    for _ in range(_STEP_DOWNS):
        await asyncio.sleep(_SECONDS_BETWEEN_STEP_DOWNS)
        await asyncio.to_thread(replica_set.step_down)
    await asyncio.sleep(_SECONDS_BETWEEN_STEP_DOWNS)
    writers.stop()
    await asyncio.wait_for(writing, 60)
    posts, refused = len(writers.seconds), len(writers.refusals)
    p99_seconds = sorted(writers.seconds)[int(0.99 * posts)]
    print(  # noqa: T201  # figures for the runbook
        f"{_STEP_DOWNS} step-downs: {refused} of {posts} posts refused, p99 {p99_seconds:.2f} s, "
        f"{writers.longest_gap():.1f} s without writes"
    )
    assert refused <= 0.05 * posts
    await writers.expect_nothing_lost()
    await asyncio.to_thread(replica_set.await_healthy)


async def test_nothing_is_acknowledged_without_a_majority(on_the_set: Service, replica_set: ReplicaSet) -> None:
    caller = on_the_set.client()
    await caller.store("before")
    clock = asyncio.get_running_loop().time
    body = {"conversation_id": "conv-1", "content": "during"}

    async def post(key: str) -> tuple[Answer, float]:
        began_at = clock()
        answer = await caller.post("/v1/messages", body, headers={"Idempotency-Key": key})
        return answer, clock() - began_at

    for secondary in replica_set.secondaries():
        secondary.kill()
    for round_ in range(3):
        for answer, seconds in await asyncio.gather(*(post(f"{round_}-{number}") for number in range(3))):
            expect_problem(answer, 503, "store_unavailable")
            assert int(answer.headers["Retry-After"]) > 0
            assert seconds < _REFUSED_WITHIN_SECONDS
    for member in replica_set.members:
        if not member.is_running:
            member.start()
    replica_set.primary()
    returned_at = clock()
    await eventually(lambda: _is_stored(post("0-0")), seconds=10, what="writes are taken again")
    print(f"majority back: {clock() - returned_at:.1f} s until writes")  # noqa: T201  # a figure for the runbook
    replica_set.await_healthy()
    for number in range(9):
        assert (await post(f"{number // 3}-{number % 3}"))[0].status == 201
    messages = (await caller.page(order="asc", limit="100"))["data"]
    assert [message["seq"] for message in messages] == list(range(1, 11))
