"""What a worker's sweep finds for it: what others left, not what it has in hand itself."""

from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from message_service.ids import ConversationId
from message_service.journey.recover import SafetyNet, find_lost
from message_service.messages.reply import Attempt, Reply, WorkKind
from message_service.store.claim import Claims
from message_service.store.database import Database
from message_service.store.repair import Repairs
from message_service.work.held import HeldReplies
from message_service.work.probation import Probation, suspect_attempts
from tests.fixtures.clock import Clock
from tests.integration.steps import LEASE_SECONDS, OTHER_WORKER, WORKER, Steps

MAX_ATTEMPTS = 5


class NothingAsked:
    stage = (0, False)

    def so_far(self) -> Sequence[Attempt]:
        return ()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def net(database: Database, clock: Clock) -> SafetyNet:
    return SafetyNet(
        worker_id=WORKER,
        kinds=tuple(WorkKind),
        claims=Claims(database, lease_seconds=LEASE_SECONDS, suspect_attempts=suspect_attempts(MAX_ATTEMPTS)),
        repairs=Repairs(database),
        held=HeldReplies(),
        probation=Probation(MAX_ATTEMPTS, clock=clock),
    )


async def left_by_the_dead(steps: Steps, deaths: int, *numbers: int) -> list[Reply]:
    replies = [await steps.ask(conversation_id=ConversationId(f"conv-{number}")) for number in numbers]
    for _ in range(deaths):
        for reply in replies:
            await steps.claim(reply, OTHER_WORKER)
        await steps.claims.expire(OTHER_WORKER)
    return replies


@pytest.mark.parametrize("deaths", [0, 1])
async def test_others_are_found_when_a_full_worker_renews_late(steps: Steps, net: SafetyNet, deaths: int) -> None:
    mine = await left_by_the_dead(steps, deaths, 1, 2, 3)
    with ExitStack() as held:
        for reply in mine:
            held.enter_context(net.held.hold(await steps.claim(reply), NothingAsked()))
        await steps.claims.expire(WORKER)
        assert await find_lost(1, net=net) == []
        (other,) = await left_by_the_dead(steps, 1, 4)
        assert await find_lost(1, net=net) == [other.id]


async def test_suspects_come_first_and_one_after_the_other_when_their_worker_lives(
    steps: Steps, net: SafetyNet, clock: Clock
) -> None:
    first, second = await left_by_the_dead(steps, 4, 1, 2)
    (orphan,) = await left_by_the_dead(steps, 1, 3)
    assert await find_lost(1, net=net) == [first.id]
    with net.probation.attending(first.id) as is_on_probation:
        claimed = await net.claims.claim(first.id, WORKER, is_on_probation=is_on_probation)
        assert claimed is not None
        assert claimed.attempts == 5
        net.probation.claimed(first.id)
        assert await find_lost(9, net=net) == [orphan.id]
        assert (await steps.reply(first.id)).attempts == 5
        clock.at += 10
        assert await find_lost(9, net=net) == [second.id, orphan.id]
        assert (await steps.reply(first.id)).attempts == 4, "it did not kill, so its attempt is given back"
