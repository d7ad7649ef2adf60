"""The checker is itself checked: it finds each of these bugs in a real run, and nothing in the same run without it."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import redis

from tests.chaos.checker import Verdict
from tests.chaos.history import Action, Fault
from tests.chaos.seeded import entry_of
from tests.chaos.trial import Trial, described
from tests.fixtures.service import Service, StartService
from tests.fixtures.service_processes import ENTRY, Api, Process, Worker

_QUIET_SECONDS = 6.0
"""So long a reply has to end once all is healed; those that the bugs leave behind never do."""
_BEFORE_IT_IS_STORED_SECONDS = 0.4
"""The bugs that store too late do so 1.5 s after they should have."""
_COLLECTIONS = ("messages", "replies", "conversations", "usage", "audit", "idempotency")


@dataclass(slots=True)
class Scene:
    """A healthy API with empty stores, and processes with or without the bug."""

    service: Service
    trial: Trial
    entry: Sequence[str]

    async def api(self) -> Api:
        await self.service.start(apis=1, entry=self.entry)
        return self.service.apis[-1]

    async def worker(self) -> Worker:
        await self.service.start(workers=1, entry=self.entry)
        return self.service.workers[-1]

    def fault(self, kind: str, target: str) -> None:
        began = self.trial.run.began
        self.trial.writer.write(Fault(kind=kind, target=target, began=began))

    def kill(self, process: Process) -> None:
        self.fault("kill", process.name)
        self.service.retire(process)
        process.kill()


def _words(count: int, text: str = "One word after the other.") -> str:
    """A message answered with so many words, 20 a second."""
    return f"/script tokens={count} rate=20\n{text}"


def _said(text: str) -> str:
    """A message answered at once with this text."""
    return f"/script rate=max\n{text}"


async def worker_is_paused_beyond_its_lease(scene: Scene) -> None:
    user = scene.trial.user()
    first = await scene.worker()
    asked = await user.post(_words(30), key="one")
    await user.client.reply_when(str(asked.reply_id), "running")
    scene.fault("pause", first.name)
    first.signal(signal.SIGSTOP)
    try:
        await scene.worker()
        await user.client.ended(str(asked.reply_id))
    finally:
        first.signal(signal.SIGCONT)
    # What it had begun takes it 1.5 s in all; it ends it or learns that it may not.
    await asyncio.sleep(2.5)


async def api_is_killed_after_its_answer(scene: Scene) -> None:
    user = scene.trial.user()
    api = await scene.api()
    await user.at(api.url).post("a note", key="one", asks_reply=False)
    scene.kill(api)


async def api_is_killed_while_it_stores(scene: Scene) -> None:
    user = scene.trial.user()
    await user.post("the first", key="one", asks_reply=False)
    api = await scene.api()
    posting = asyncio.create_task(user.at(api.url).post("the second", key="two", asks_reply=False))
    await asyncio.sleep(_BEFORE_IT_IS_STORED_SECONDS)
    scene.kill(api)
    await posting
    await user.post_until_acknowledged("the second", key="two", asks_reply=False, seconds=20)


async def redis_forgets_what_waits(scene: Scene) -> None:
    user = scene.trial.user()
    await user.post(_said("one"), key="one", expected="one")
    scene.fault("flush", "redis")
    with redis.Redis.from_url(scene.service.redis_url) as client:
        client.flushdb()
    await scene.worker()


async def worker_is_killed_in_the_middle(scene: Scene) -> None:
    user = scene.trial.user()
    worker = await scene.worker()
    asked = await user.post(_words(40), key="one")
    await user.client.reply_when(str(asked.reply_id), "running")
    scene.kill(worker)
    await scene.worker()


async def worker_is_killed_after_an_end(scene: Scene) -> None:
    user = scene.trial.user()
    worker = await scene.worker()
    first = await user.post(_words(10), key="one")
    await user.post(_words(40), key="two")
    await user.client.ended(str(first.reply_id))
    scene.kill(worker)
    await scene.worker()


async def reply_takes_longer_than_a_lease(scene: Scene) -> None:
    user = scene.trial.user()
    await scene.worker()
    await scene.worker()
    await user.post("/script first=3\nslowly", key="one", expected="slowly")


async def one_asks_for_anothers_message(scene: Scene) -> None:
    ada, bob = scene.trial.user(), scene.trial.user()
    api = await scene.api()
    message = await ada.post("a secret", key="one", asks_reply=False)
    await bob.at(api.url).get(str(message.message_id), action=Action.FOREIGN_READ)


async def provider_breaks_off(scene: Scene) -> None:
    user = scene.trial.user()
    await scene.worker()
    await user.post("/script rate=max fail=cut@3\nfour words and more", key="one", expected="four words and more")


async def provider_refuses(scene: Scene) -> None:
    user = scene.trial.user()
    await scene.worker()
    await user.post("/script fail=invalid\nnothing", key="one")


async def watcher_comes_back(scene: Scene) -> None:
    user = scene.trial.user()
    api = await scene.api()
    await scene.worker()
    asked = await user.post(_words(30), key="one")
    await user.at(api.url).watch(str(asked.reply_id), cut_after=(6, 5, 5))


async def key_comes_again(scene: Scene) -> None:
    user = scene.trial.user()
    api = await scene.api()
    await user.at(api.url).post("a note", key="one", asks_reply=False)
    await user.at(api.url).post("a note", key="one", asks_reply=False, action=Action.REPOST)


Scenario = Callable[[Scene], Awaitable[None]]

SEEDED: list[tuple[str, Scenario, set[str]]] = [
    ("no_fence", worker_is_paused_beyond_its_lease, {"I4", "I14"}),
    ("acknowledged_before_commit", api_is_killed_after_its_answer, {"I1"}),
    ("seq_outside_transaction", api_is_killed_while_it_stores, {"I5"}),
    ("job_only_in_redis", redis_forgets_what_waits, {"I4"}),
    ("settled_before_finish", worker_is_killed_in_the_middle, {"I4"}),
    ("promotion_outside_transaction", worker_is_killed_after_an_end, {"I4"}),
    ("no_renewal", reply_takes_longer_than_a_lease, {"I13"}),
    ("lease_by_worker_clock", reply_takes_longer_than_a_lease, {"I13"}),
    ("read_of_anyone", one_asks_for_anothers_message, {"I11"}),
    ("partial_as_complete", provider_breaks_off, {"I4"}),
    ("failure_not_stored", provider_refuses, {"I4"}),
    ("resume_off_by_one", watcher_comes_back, {"I10"}),
    ("key_not_stored", key_comes_again, {"I3"}),
]
SCENARIOS = list(dict.fromkeys(scenario for _, scenario, _ in SEEDED))


@pytest_asyncio.fixture(scope="module")
async def sturdy(start_service: StartService) -> AsyncIterator[Service]:
    # Repair would heal what some of the bugs leave behind before the checker looks.
    async with start_service(
        workers=0, LEASE_SECONDS="1", SWEEP_INTERVAL_SECONDS="0.1", REPAIR_INTERVAL_SECONDS="3600"
    ) as running:
        yield running


async def _played(scenario: Scenario, service: Service, folder: Path, entry: Sequence[str]) -> Verdict:
    with service.mongodb() as database:
        for collection in _COLLECTIONS:
            database[collection].delete_many({})
    with redis.Redis.from_url(service.redis_url) as client:
        client.flushdb()
    with ExitStack() as stack:
        trial = Trial.open(service, folder, stack)
        try:
            await scenario(Scene(service, trial, entry))
            return await trial.verdict(seconds=_QUIET_SECONDS)
        finally:
            for process in (*service.apis[1:], *service.workers):
                service.retire(process)
                process.kill()


@pytest.mark.parametrize(("bug", "scenario", "invariants"), SEEDED, ids=[bug for bug, _, _ in SEEDED])
async def test_checker_finds_the_bug_when_it_is_planted(
    bug: str, scenario: Scenario, invariants: set[str], sturdy: Service, tmp_path: Path
) -> None:
    verdict = await _played(scenario, sturdy, tmp_path, entry_of(bug))
    assert invariants <= verdict.invariants, described(verdict)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_checker_finds_nothing_when_no_bug_is_planted(
    scenario: Scenario, sturdy: Service, tmp_path: Path
) -> None:
    verdict = await _played(scenario, sturdy, tmp_path, ENTRY)
    assert not verdict.violations, described(verdict)
