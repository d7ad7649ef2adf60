"""A stopping worker that dies at any command of handing a reply back: another one sees it through, once."""

import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos.history import Fault
from tests.chaos.recording import RecordedClient
from tests.chaos.trial import Trial, described
from tests.chaos.victims import Bench, Victim, Victims
from tests.fixtures.service import Service, StartService
from tests.fixtures.service_processes import Worker

_QUESTION = "/script tokens=60 rate=20\nOne word after the other."
_COMMANDS = ["update replies", "insert usage", "commitTransaction", "announcement", "settlement"]
BOUNDARIES = [f"{when} {command}" for command in _COMMANDS for when in ("before", "after")]


@pytest_asyncio.fixture(scope="module")
async def sturdy(start_service: StartService) -> AsyncIterator[Service]:
    # Leases long enough that they are hardly renewed between the order to stop and the end.
    async with start_service(workers=0, LEASE_SECONDS="3", SWEEP_INTERVAL_SECONDS="0.1", DRAIN_SECONDS="0") as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def bench(sturdy: Service, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    victims = Victims(Worker, sturdy.environment, tmp_path_factory.mktemp("victims"))
    yield Bench(victims)
    for process in victims.all:
        process.kill()


async def _stopped(user: RecordedClient, victim: Victim[Worker], boundary: str) -> None:
    """The victim has begun to answer, and is told to stop."""
    asked = await user.post(_QUESTION, key="one")
    await user.client.reply_when(str(asked.reply_id), "running")
    # A word at least, so that there is something to book.
    async with user.client.watch(str(asked.reply_id)) as watch:
        await watch.until("reply.delta")
    victim.die_at(boundary)
    victim.process.signal(signal.SIGTERM)


@pytest.mark.parametrize("boundary", BOUNDARIES)
async def test_reply_is_seen_through_when_its_worker_dies_handing_it_back(
    boundary: str, sturdy: Service, bench: Bench, tmp_path: Path
) -> None:
    victim = await bench.ready()
    with ExitStack() as stack:
        trial = Trial.open(sturdy, tmp_path, stack)
        user = trial.user()
        await _stopped(user, victim, boundary)
        dead, died_at = await bench.replace()
        trial.writer.write(Fault(kind="kill", target=dead.name, began=died_at))
        await user.walk()
        verdict = await trial.verdict()
    assert not verdict.violations, described(verdict)
    assert verdict.figures.replies_by_status == {"completed": 1}


async def test_every_boundary_of_handing_back_is_in_the_list(sturdy: Service, bench: Bench, tmp_path: Path) -> None:
    victim = await bench.ready()
    with ExitStack() as stack:
        trial = Trial.open(sturdy, tmp_path, stack)
        user = trial.user()
        await _stopped(user, victim, "nowhere")
        assert await victim.process.exited(seconds=20) == 0, victim.process.log()
        trial.writer.write(Fault(kind="stop", target=victim.process.name, began=time.monotonic()))
        bench.next()
        verdict = await trial.verdict()
    assert not verdict.violations, described(verdict)
    # A lease that is renewed meanwhile is one more update, and what it notes of the attempt another.
    assert {re.sub(r" \d+$", "", boundary) for boundary in victim.passed()} == set(BOUNDARIES)
