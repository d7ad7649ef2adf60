"""Two workers, each with its own router and connections: how soon one knows what the other suffered, and who probes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median

import pytest

from message_service.providers.connections import provider_session
from message_service.providers.lm_studio import LmStudioProvider
from message_service.providers.router import Router
from message_service.providers.routing.breaker import Breaker, BreakerPolicy, BreakerState
from message_service.providers.routing.shared import CHANNEL, SharedBreakers
from message_service.providers.routing.target import Target
from message_service.relay import Relay, open_relay
from message_service.stopping import stop_tasks
from tests.contract.providers.fault_server import CHAT, DONE, FaultServer, Pause, Request, Step, answer, delta
from tests.contract.providers.fault_server import stream_head as head
from tests.contract.providers.reading import prompt, read
from tests.contract.providers.routers import SCRIPTED
from tests.fixtures.waiting import eventually

TRIALS = 5
FIRST_OPEN_SECONDS = 1.0
_POLICY = BreakerPolicy(first_open_seconds=FIRST_OPEN_SECONDS)


class Worker:
    """What a worker has of routing: a model server, and the scripted provider for when that is left alone."""

    def __init__(self, router: Router) -> None:
        self.router = router

    @property
    def state(self) -> BreakerState:
        breaker = self.router.targets[0].breaker
        assert breaker is not None
        return breaker.state(_now())

    async def becomes(self, state: BreakerState) -> float:
        """The moment at which its breaker is in `state`."""

        async def look() -> float:
            return _now() if self.state is state else 0

        return await eventually(look, seconds=20, what=f"the breaker is {state}")

    async def ask(self) -> str:
        return (await read(self.router.stream(prompt("/script say=Hi")))).text


@asynccontextmanager
async def _worker(redis_url: str, server: FaultServer) -> AsyncIterator[Worker]:
    async with open_relay(redis_url) as relay, provider_session() as session:
        provider = LmStudioProvider(session, server.url, None, "fault", 10, 10)
        targets = [Target(provider, Breaker(_POLICY), identity="lm_studio:one"), Target(SCRIPTED, tier=2)]
        shared = SharedBreakers(relay, targets)
        running = asyncio.create_task(shared.run())
        try:
            yield Worker(Router(targets, shared=shared))
        finally:
            await stop_tasks([running])


async def _seconds_until_the_other_knows(redis_url: str, relay: Relay, *, listeners: int) -> float:
    await relay.quick.flushdb()

    async def is_listened_to() -> bool:
        ((_, count),) = await relay.quick.pubsub_numsub(CHANNEL)
        return int(count) >= listeners

    async with (
        FaultServer({CHAT: [answer(529, b"")]}) as server,
        _worker(redis_url, server) as one,
        _worker(redis_url, server) as other,
    ):
        await eventually(is_listened_to, seconds=10, what="the workers listen")
        knows = asyncio.create_task(other.becomes(BreakerState.OPEN))
        while one.state is not BreakerState.OPEN:
            assert await one.ask() == "Hi"
        opened_at = _now()
        known_at = await knows
        asked = len(server.requests)
        assert await other.ask() == "Hi"
        assert len(server.requests) == asked, "the other leaves it alone without having failed there itself"
    return max(0.0, known_at - opened_at)


async def test_other_worker_leaves_a_target_alone_within_a_second_when_it_failed_one(
    redis_url: str, relay: Relay
) -> None:
    trials = [await _seconds_until_the_other_knows(redis_url, relay, listeners=2) for _ in range(TRIALS)]
    assert median(trials) < 1, trials


async def test_other_worker_knows_within_a_second_when_the_channel_is_forbidden(redis_url: str, relay: Relay) -> None:
    user, word = "no-channels", "a-word-for-tests"
    await relay.quick.acl_setuser(user, enabled=True, passwords=[f"+{word}"], keys=["*"], commands=["+@all"])
    try:
        scheme, _, rest = redis_url.partition("://")
        url = f"{scheme}://{user}:{word}@{rest.rpartition('@')[2]}"
        trials = [await _seconds_until_the_other_knows(url, relay, listeners=0) for _ in range(TRIALS)]
    finally:
        await relay.quick.acl_deluser(user)
    assert median(trials) < 1, trials


@pytest.mark.parametrize("outcome", ["well", "failing"])
async def test_one_request_finds_out_when_two_workers_may_probe_at_the_same_time(
    redis_url: str, relay: Relay, outcome: str
) -> None:
    await relay.quick.flushdb()
    async with (
        FaultServer({CHAT: [answer(529, b"")]}) as server,
        _worker(redis_url, server) as one,
        _worker(redis_url, server) as other,
    ):
        while one.state is not BreakerState.OPEN:
            await one.ask()
        await other.becomes(BreakerState.OPEN)
        asked = len(server.requests)
        probing = _Probing(server, outcome)
        server.routes[CHAT] = probing
        await asyncio.gather(*(worker.becomes(BreakerState.HALF_OPEN) for worker in (one, other)))
        replies = await asyncio.gather(*(worker.ask() for worker in (one, other) * 10))
        assert probing.most_at_once == 1
        probes = len(server.requests) - asked
        assert (probes, sorted(set(replies))) == ((1, ["Hello", "Hi"]) if outcome == "well" else (1, ["Hi"]))


class _Probing:
    """Answers slowly, so that whoever else might ask has the time to; counts how many ask at once."""

    def __init__(self, server: FaultServer, outcome: str) -> None:
        self._server = server
        self._before = len(server.requests)
        self._is_well = outcome == "well"
        self.most_at_once = 0

    def __call__(self, _: Request) -> list[Step]:
        self.most_at_once = max(self.most_at_once, len(self._server.requests) - self._before)
        if self._is_well:
            return [head(), Pause(0.5), delta("Hello"), delta(finish="stop"), DONE]
        return [Pause(0.5), answer(529, b"")]


def _now() -> float:
    return asyncio.get_running_loop().time()
