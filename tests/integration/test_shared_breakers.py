"""Breakers that workers share through Redis: what one finds out the others know, and one probe is sent by all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from message_service.errors import ProviderTimeout
from message_service.providers.routing.breaker import Admission, Breaker, BreakerPolicy, BreakerState
from message_service.providers.routing.shared import STATE_KEY, SharedBreakers, read_breakers
from message_service.providers.routing.target import Target
from message_service.providers.scripted import ScriptedProvider
from message_service.relay import PREFIX, Relay, open_relay
from tests.fixtures.waiting import eventually

POLICY = BreakerPolicy(failures_in_a_row=2, first_open_seconds=1)


class Worker:
    """One target and what keeps it in step, as in a worker of its own."""

    def __init__(self, relay: Relay) -> None:
        self.breaker = Breaker(POLICY)
        self.target = Target(ScriptedProvider(1000), self.breaker, identity="a:1")
        self.shared = SharedBreakers(relay, [self.target])

    @property
    def state(self) -> BreakerState:
        return self.breaker.state(_now())

    def fail(self, times: int = POLICY.failures_in_a_row, *, is_probe: bool = False) -> None:
        for _ in range(times):
            self.breaker.failed(ProviderTimeout(provider="a"), _now(), is_probe=is_probe, chance=0.5)
        self.shared.tell()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.shared.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _is(worker: Worker, state: BreakerState) -> None:
    async def look() -> bool:
        return worker.state is state

    await eventually(look, seconds=10, what=f"the breaker is {state}")


async def test_other_worker_knows_within_a_look_when_a_breaker_opens_and_when_it_closes(relay: Relay) -> None:
    one, other = Worker(relay), Worker(relay)
    async with one.running(), other.running():
        one.fail()
        await _is(other, BreakerState.OPEN)
        await _is(other, BreakerState.HALF_OPEN)
        for _ in range(POLICY.probes_to_close):
            one.breaker.succeeded(_now(), is_probe=True)
        one.shared.tell()
        await _is(other, BreakerState.CLOSED)
    assert await relay.quick.exists(STATE_KEY) == 0


async def test_exactly_one_of_many_workers_sends_the_probe(relay: Relay) -> None:
    workers = [Worker(relay) for _ in range(8)]
    workers[0].fail()
    for worker in workers:
        await worker.shared.exchange()
    for worker in workers:
        await _is(worker, BreakerState.HALF_OPEN)
    taken = await asyncio.gather(*(worker.shared.take_probe(worker.target) for worker in workers))
    assert taken.count(True) == 1
    prober = workers[taken.index(True)]
    prober.fail(1, is_probe=True)
    await prober.shared.release_probe(prober.target)
    again = await asyncio.gather(*(worker.shared.take_probe(worker.target) for worker in workers))
    assert not any(again), "they hear of the failed probe before they send another"
    for worker in workers:
        await worker.shared.exchange()
    assert {worker.breaker.admission(_now()) for worker in workers} == {Admission.REFUSE}


async def test_lease_of_a_probe_lasts_while_its_worker_lives_and_no_longer(relay: Relay) -> None:
    one, other = Worker(relay), Worker(relay)
    one.fail()
    await one.shared.exchange()
    await other.shared.exchange()
    for worker in (one, other):
        await _is(worker, BreakerState.HALF_OPEN)
    async with one.running():
        assert await one.shared.take_probe(one.target)
        await asyncio.sleep(6)
        assert not await other.shared.take_probe(other.target)

    async def is_free() -> bool:
        return await other.shared.take_probe(other.target)

    await eventually(is_free, seconds=20, what="the lease of the dead worker has run out")


async def test_lease_of_a_probe_runs_out_when_whoever_took_it_is_interrupted(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = Worker(relay), Worker(relay)
    one.fail()
    await one.shared.exchange()
    await other.shared.exchange()
    await asyncio.sleep(1.1)
    with monkeypatch.context() as patch:
        patch.setattr(one.shared, "exchange", asyncio.Event().wait)  # Redis answers no more
        taking = asyncio.create_task(one.shared.take_probe(one.target))

        async def is_taken() -> bool:
            return bool(await relay.quick.exists(f"{PREFIX}:{{breakers}}:probe:{one.target.identity}"))

        await eventually(is_taken, seconds=10, what="the lease is taken")
        taking.cancel()
        with suppress(asyncio.CancelledError):
            await taking

    async def is_free() -> bool:
        return await other.shared.take_probe(other.target)

    async with one.running():
        await eventually(is_free, seconds=20, what="nobody renews the lease")


async def test_breaker_is_adopted_when_a_newer_worker_tells_more_of_it(relay: Relay) -> None:
    one, other = Worker(relay), Worker(relay)
    one.fail()
    await one.shared.exchange()
    ((identity, told),) = (await relay.quick.hgetall(STATE_KEY)).items()
    fields = str(told).removesuffix("]")
    await relay.quick.hset(STATE_KEY, identity, f'{fields},"what we do not know"]')
    await other.shared.exchange()
    assert other.state is BreakerState.OPEN


async def test_each_worker_stands_by_itself_when_redis_is_gone() -> None:
    async with open_relay("redis://127.0.0.1:1/0") as gone:
        worker = Worker(gone)
        async with worker.running():
            worker.fail()
            await _is(worker, BreakerState.OPEN)
            await _is(worker, BreakerState.HALF_OPEN)
            assert await worker.shared.take_probe(worker.target)
            worker.fail(1, is_probe=True)
            await worker.shared.release_probe(worker.target)
            assert worker.state is BreakerState.OPEN


async def test_worker_tells_again_when_redis_has_lost_it(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Worker(relay), Worker(relay)
    one.fail()
    async with one.running():
        await _is(one, BreakerState.OPEN)
        with monkeypatch.context() as patch:
            patch.setattr(Relay, "is_resting", property(lambda _: True))
            await asyncio.sleep(1)
            await relay.quick.delete(STATE_KEY)
        one.fail(1, is_probe=True)

        async def is_told() -> bool:
            return bool(await read_breakers(relay))

        await eventually(is_told, seconds=10, what="it is told again")
    await other.shared.exchange()
    assert other.state is not BreakerState.CLOSED
