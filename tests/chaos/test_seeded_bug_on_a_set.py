"""The checker finds what only a primary had when it lost its place, and nothing where a majority was asked."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tests.chaos.checker import Verdict
from tests.chaos.history import Fault, Outcome
from tests.chaos.seeded import entry_of
from tests.chaos.stores import set_failpoint
from tests.chaos.trial import Trial, described
from tests.fixtures.replica_set import ReplicaSet, run_replica_set
from tests.fixtures.service import Service, StartService
from tests.fixtures.service_processes import ENTRY

_REPLICATION = "stopReplProducer"
_SECONDS = 90.0


@pytest.fixture(scope="module")
def faulty_set() -> Iterator[ReplicaSet]:
    with run_replica_set(has_test_commands=True) as running:
        yield running


@pytest_asyncio.fixture(scope="module")
async def on_the_set(start_service: StartService, faulty_set: ReplicaSet) -> AsyncIterator[Service]:
    async with start_service(workers=0, MONGODB_URL=faulty_set.url) as running:
        yield running


async def _primary_is_left_behind(service: Service, members: ReplicaSet, folder: Path, entry: Sequence[str]) -> Verdict:
    await service.start(apis=1, entry=entry)
    sound, suspect = service.apis[0], service.apis[-1]
    with ExitStack() as stack:
        trial = Trial.open(service, folder, stack)
        user = trial.user()
        await user.at(suspect.url).post("before", key="zero", asks_reply=False)
        primary = members.primary()
        secondaries = members.secondaries()
        trial.writer.write(Fault(kind="primary_left_behind", target=primary.address, began=trial.run.began))
        try:
            for member in secondaries:
                assert await set_failpoint(member.url, _REPLICATION, "alwaysOn")
            told = await user.at(suspect.url).post("during", key="one", asks_reply=False)
            primary.pause()
        finally:
            for member in secondaries:
                assert await set_failpoint(member.url, _REPLICATION, "off")
        await user.at(sound.url).post_until_acknowledged("after", key="two", asks_reply=False, seconds=_SECONDS)
        await asyncio.to_thread(members.mend)
        if told.outcome is not Outcome.OK:
            await user.at(suspect.url).post_until_acknowledged("during", key="one", asks_reply=False, seconds=_SECONDS)
        service.retire(suspect)
        suspect.kill()
        return await trial.verdict()


async def test_checker_finds_the_bug_when_one_member_is_enough(
    on_the_set: Service, faulty_set: ReplicaSet, tmp_path: Path
) -> None:
    verdict = await _primary_is_left_behind(on_the_set, faulty_set, tmp_path, entry_of("acknowledged_by_one"))
    assert "I1" in verdict.invariants, described(verdict)


async def test_checker_finds_nothing_when_a_majority_is_asked(
    on_the_set: Service, faulty_set: ReplicaSet, tmp_path: Path
) -> None:
    verdict = await _primary_is_left_behind(on_the_set, faulty_set, tmp_path, ENTRY)
    assert not verdict.violations, described(verdict)
    assert verdict.figures.acknowledged_messages == 3
