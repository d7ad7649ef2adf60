"""What is done to a running stack, one kind a function: entered the fault is there, left it is healed."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from redis.exceptions import RedisError

from tests.chaos.model_server import Mood
from tests.chaos.proxy import GOOD, Conditions, FaultProxy
from tests.chaos.stack import Stack
from tests.chaos.stores import set_failpoint
from tests.chaos.storm import disconnect_storm
from tests.chaos.supervised import Place
from tests.fixtures.replica_set import Member

_SECONDS_TO_COME_BACK = 20.0
_REPLICATION = "stopReplProducer"
_LAG_SECONDS = (0.5, 1.5)

Strike = Callable[[Stack, random.Random], AbstractAsyncContextManager[str]]
"""Entered the fault is there, left it is healed. Gives the target's name."""


def signalled(places: Callable[[Stack], Sequence[Place]], number: signal.Signals, *, every: bool = False) -> Strike:
    """A process, or all of them, gets a signal that ends it; what supervises it starts the next.

    Healed is when an API process answers again, or MongoDB.
    """

    @asynccontextmanager
    async def strike(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
        chosen = places(stack) if every else [dice.choice(places(stack))]
        for place in chosen:
            place.send(number)
            # A process that is paused takes it when it goes on.
            place.send(signal.SIGCONT)
        yield " ".join(place.name for place in chosen)
        await stack.await_up([place.name for place in chosen], seconds=_SECONDS_TO_COME_BACK)

    return strike


def paused(places: Callable[[Stack], Sequence[Place]]) -> Strike:
    @asynccontextmanager
    async def strike(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
        place = dice.choice(places(stack))
        child = place.child
        place.send(signal.SIGSTOP)
        try:
            yield place.name
        finally:
            if child.poll() is None:
                child.send_signal(signal.SIGCONT)

    return strike


def link_in(links: Callable[[Stack], Sequence[FaultProxy]], conditions: Conditions) -> Strike:
    @asynccontextmanager
    async def strike(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
        link = dice.choice(links(stack))
        link.conditions = conditions
        try:
            yield f"{link.name} link"
        finally:
            link.conditions = GOOD

    return strike


def link_reset(links: Callable[[Stack], Sequence[FaultProxy]]) -> Strike:
    @asynccontextmanager
    async def strike(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
        link = dice.choice(links(stack))
        link.reset()
        yield f"{link.name} link"

    return strike


def failpoint(name: str, mode: Any, **data: Any) -> Strike:
    @asynccontextmanager
    async def strike(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
        was_set = await set_failpoint(stack.mongodb_url, name, mode, **data)
        try:
            yield "mongod" if was_set else "mongod (did not take it)"
        finally:
            # At every member: which of them had it need not be the primary any more.
            for url in stack.mongod_urls:
                await _failpoint_off(url, name)

    return strike


async def _failpoint_off(url: str, name: str) -> None:
    """One that is down forgets it by itself; one that is slow is asked again."""
    for _ in range(5):
        if await set_failpoint(url, name, "off"):
            return


def model_in(mood: Mood) -> Strike:
    @asynccontextmanager
    async def strike(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
        stack.model.mood = mood
        try:
            yield "model_server"
        finally:
            stack.model.heal()

    return strike


@asynccontextmanager
async def redis_lost(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
    stack.stores.redis.kill()
    stack.stores.forget_redis()
    yield "redis"


@asynccontextmanager
async def redis_flushed(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
    async with stack.stores.redis_client() as client:
        with suppress(RedisError, OSError):
            await client.flushall()
    yield "redis"


def redis_configured(**settings: str) -> Strike:
    """With these settings; back to what they were afterwards. A restart forgets them too."""

    @asynccontextmanager
    async def strike(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
        before: dict[Any, Any] = {}
        async with stack.stores.redis_client() as client:
            with suppress(RedisError, OSError):
                for name, value in settings.items():
                    before.update(await client.config_get(name.replace("_", "-")))
                    await client.config_set(name.replace("_", "-"), value)
            try:
                yield "redis"
            finally:
                for _ in range(5):
                    try:
                        for key, text in before.items():
                            await client.config_set(key, text)
                        break
                    except (RedisError, OSError):
                        await asyncio.sleep(0.5)

    return strike


def mongod_member(
    is_primary: bool, do: Callable[[Member], None], undo: Callable[[Member], None] | None = None
) -> Strike:
    @asynccontextmanager
    async def strike(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
        assert stack.replica_set is not None
        primary = await asyncio.to_thread(stack.replica_set.primary)
        others = [member for member in stack.replica_set.members if member is not primary]
        member = primary if is_primary else dice.choice(others)
        do(member)
        try:
            yield f"mongod {member.address}"
        finally:
            if undo is not None:
                undo(member)

    return strike


@asynccontextmanager
async def majority_paused(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
    """Both secondaries hang: the primary can promise nothing, and makes room."""
    assert stack.replica_set is not None
    secondaries = await asyncio.to_thread(stack.replica_set.secondaries)
    for member in secondaries:
        member.pause()
    try:
        yield " ".join(f"mongod {member.address}" for member in secondaries)
    finally:
        for member in secondaries:
            member.resume()


@asynccontextmanager
async def primary_left_behind(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
    """The secondaries copy nothing for a while, then the primary hangs, and they elect another without what it wrote.

    When it goes on it still holds itself for the primary, and has to take back whatever nobody else has.
    """
    assert stack.replica_set is not None
    primary = await asyncio.to_thread(stack.replica_set.primary)
    others = [member for member in stack.replica_set.members if member is not primary]
    try:
        for member in others:
            await set_failpoint(member.url, _REPLICATION, "alwaysOn")
        await asyncio.sleep(dice.uniform(*_LAG_SECONDS))
        primary.pause()
    finally:
        for member in others:
            await _failpoint_off(member.url, _REPLICATION)
    try:
        yield f"mongod {primary.address}"
    finally:
        primary.resume()


@asynccontextmanager
async def stepped_down(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
    assert stack.replica_set is not None
    await asyncio.to_thread(stack.replica_set.step_down)
    yield "mongod primary"


@asynccontextmanager
async def clients_leave(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
    await disconnect_storm(stack.api_urls, dice)
    yield "api clients"
