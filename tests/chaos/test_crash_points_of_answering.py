"""A worker that dies at any command of answering: another one answers, once, and the next reply gets its turn."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos.history import Fault
from tests.chaos.trial import Trial, described
from tests.chaos.victims import Bench, Victims
from tests.fixtures.service import Service, StartService
from tests.fixtures.service_processes import Worker

# Long enough to renew the lease once before the end.
_QUESTION = "/script tokens=12 rate=20\nOne word after the other."
_COMMANDS = [
    "findAndModify replies",  # claim
    "find messages",
    "update replies",  # renew
    "findAndModify replies 2",  # end
    "find conversations",
    "findAndModify replies 3",  # the next one's turn
    "update conversations",
    "insert messages",
    "insert usage",
    "insert audit",
    "commitTransaction",
    "announcement",
    "settlement",
]


def _boundary(when: str, command: str) -> str:
    return f"{when} {command}"


BOUNDARIES = [_boundary(when, command) for command in _COMMANDS for when in ("before", "after")]


@pytest_asyncio.fixture(scope="module")
async def sturdy(start_service: StartService) -> AsyncIterator[Service]:
    async with start_service(workers=0, LEASE_SECONDS="1", SWEEP_INTERVAL_SECONDS="0.1") as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def bench(sturdy: Service, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    victims = Victims(Worker, sturdy.environment, tmp_path_factory.mktemp("victims"))
    yield Bench(victims)
    for process in victims.all:
        process.kill()


@pytest.mark.parametrize("boundary", BOUNDARIES)
async def test_replies_come_once_and_in_order_when_their_worker_dies(
    boundary: str, sturdy: Service, bench: Bench, tmp_path: Path
) -> None:
    victim = await bench.ready()
    with ExitStack() as stack:
        trial = Trial.open(sturdy, tmp_path, stack)
        user = trial.user()
        victim.die_at(boundary)
        first = await user.post(_QUESTION, key="one")
        second = await user.post("/script rate=max\ntwo", key="two", expected="two")
        dead, died_at = await bench.replace()
        trial.writer.write(Fault(kind="kill", target=dead.name, began=died_at))
        await user.watch(str(first.reply_id))
        await user.watch(str(second.reply_id))
        await user.walk()
        verdict = await trial.verdict()
    assert not verdict.violations, described(verdict)
    assert verdict.figures.replies_by_status == {"completed": 2}


async def test_every_boundary_of_answering_is_in_the_list(sturdy: Service, bench: Bench, tmp_path: Path) -> None:
    victim = await bench.ready()
    victim.die_at("nowhere")
    with ExitStack() as stack:
        trial = Trial.open(sturdy, tmp_path, stack)
        user = trial.user()
        await user.post(_QUESTION, key="one")
        await user.post("/script rate=max\ntwo", key="two")
        verdict = await trial.verdict()
    assert not verdict.violations, described(verdict)
    passed = victim.passed()
    victim.spare()
    first = passed[: passed.index("after commitTransaction") + 1]
    # A slow machine renews more than once.
    new = {one for one in first if not one.split()[-1].isdigit() or "update replies" not in one}
    assert new - set(BOUNDARIES) == set()
    assert {one for one in BOUNDARIES if "announcement" not in one and "settlement" not in one} - new == set()
