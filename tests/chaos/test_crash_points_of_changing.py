"""An API process that dies at any command of cancelling or hiding: asking again is enough, and once is what it does."""

import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos.history import Fault, Operation, Outcome
from tests.chaos.recording import RecordedClient
from tests.chaos.trial import Trial, described
from tests.chaos.victims import Victim, Victims
from tests.fixtures.service import Service, StartService
from tests.fixtures.service_processes import Api
from tests.fixtures.waiting import eventually

_SECONDS_TO_REPEAT = 20.0
_SLOWLY = "/script tokens=200 rate=20\nOne word after the other."
_FIRST, _SECOND = "/script rate=max\none", "/script rate=max\ntwo"


def _boundaries(*commands: str) -> list[str]:
    return [f"{when} {command}" for command in commands for when in ("before", "after")]


@dataclass(frozen=True, slots=True)
class Change:
    """Something a user asks for. `prepare` gives the id to ask it of, and `ask` does so at the API of its client."""

    prepare: Callable[[Service, RecordedClient], Awaitable[str]]
    ask: Callable[[RecordedClient, str], Awaitable[Operation]]
    statuses: dict[str, int]
    """Of replies, once all is over."""
    boundaries: list[str]


async def _first_of_two_waits(service: Service, user: RecordedClient) -> str:
    service.workers[0].signal(signal.SIGSTOP)
    first = await user.post(_FIRST, key="one")
    await user.post(_SECOND, key="two", expected="two")
    return str(first.reply_id)


async def _first_of_two_runs(service: Service, user: RecordedClient) -> str:
    first = await user.post(_SLOWLY, key="one")
    await user.post(_SECOND, key="two", expected="two")
    await user.client.reply_when(str(first.reply_id), "running")
    return str(first.reply_id)


async def _stored(service: Service, user: RecordedClient) -> str:
    return str((await user.post("a note", key="one", asks_reply=False)).message_id)


CHANGES = {
    "cancel_of_a_waiting_reply": Change(
        _first_of_two_waits,
        RecordedClient.cancel,
        {"cancelled": 1, "completed": 1},
        _boundaries(
            "find replies",
            "findAndModify replies",
            "find conversations",
            "findAndModify replies 2",  # the next one's turn
            "update replies",
            "update conversations",
            "insert audit",
            "commitTransaction",
            "announcement",
        ),
    ),
    "cancel_of_a_running_reply": Change(
        _first_of_two_runs,
        RecordedClient.cancel,
        {"cancelled": 1, "completed": 1},
        _boundaries("find replies", "update replies", "insert audit", "commitTransaction"),
    ),
    "delete": Change(
        _stored,
        RecordedClient.delete,
        {},
        _boundaries("find messages", "update messages", "insert audit", "commitTransaction"),
    ),
}
_POINTS = [(name, boundary) for name, change in CHANGES.items() for boundary in change.boundaries]


@pytest_asyncio.fixture(scope="module")
async def sturdy(start_service: StartService) -> AsyncIterator[Service]:
    async with start_service(LEASE_SECONDS="1", SWEEP_INTERVAL_SECONDS="0.1") as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def victims(sturdy: Service, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Victims[Api]]:
    made = Victims(Api, sturdy.environment, tmp_path_factory.mktemp("victims"))
    yield made
    for process in made.all:
        process.kill()


async def _ready(victims: Victims[Api], service: Service) -> Victim[Api]:
    victim = victims.take()
    await victim.process.await_ready(service.session)
    return victim


@pytest.mark.parametrize(("name", "boundary"), _POINTS)
async def test_change_is_made_once_when_its_api_dies(
    name: str, boundary: str, sturdy: Service, victims: Victims[Api], tmp_path: Path
) -> None:
    change = CHANGES[name]
    victim = await _ready(victims, sturdy)
    with ExitStack() as stack:
        trial = Trial.open(sturdy, tmp_path, stack)
        user = trial.user()
        try:
            target = await change.prepare(sturdy, user)
            victim.die_at(boundary)
            await change.ask(user.at(victim.process.url), target)
            await victim.dead()
            trial.writer.write(Fault(kind="kill", target=victim.process.name, began=time.monotonic()))

            async def is_repeated() -> bool:
                return (await change.ask(user, target)).outcome is Outcome.OK

            await eventually(is_repeated, seconds=_SECONDS_TO_REPEAT, what="the change is acknowledged")
        finally:
            sturdy.workers[0].signal(signal.SIGCONT)
        await user.walk()
        verdict = await trial.verdict()
    assert not verdict.violations, described(verdict)
    assert verdict.figures.replies_by_status == change.statuses


@pytest.mark.parametrize("name", CHANGES)
async def test_every_boundary_of_a_change_is_in_the_list(
    name: str, sturdy: Service, victims: Victims[Api], tmp_path: Path
) -> None:
    change = CHANGES[name]
    victim = await _ready(victims, sturdy)
    with ExitStack() as stack:
        trial = Trial.open(sturdy, tmp_path, stack)
        user = trial.user()
        try:
            target = await change.prepare(sturdy, user)
            victim.die_at("nowhere")
            await change.ask(user.at(victim.process.url), target)
        finally:
            sturdy.workers[0].signal(signal.SIGCONT)
        verdict = await trial.verdict()
    assert not verdict.violations, described(verdict)
    await victim.process.require(lambda: change.boundaries[-1] in victim.passed())
    assert victim.passed() == change.boundaries
