"""The kinds of faults there are: how each begins, how long it lasts, and how it is healed."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
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

Strike = Callable[[Stack, random.Random], AbstractAsyncContextManager[str]]
"""Entered the fault is there, left it is healed. Gives the target's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultKind:
    name: str
    group: str
    """Faults of one group are never there at the same time."""
    strike: Strike
    seconds: tuple[float, float]
    """Shortest and longest."""
    rest_seconds: float = 0.5
    """What the group is left alone for afterwards, so that load goes on."""
    is_heavy: bool = False
    """It takes the whole service away: the rest begins when that is ready again."""
    share: int = 2
    """How often it comes in one round of all kinds."""


def fault_kinds(*, mongod_members: int) -> list[FaultKind]:
    """All that can be done to a stack of this size."""
    own = _SINGLE_NODE if mongod_members == 1 else _REPLICA_SET
    return [*_PROCESSES, *own, *_REDIS, *_PROVIDER, *_CLIENTS]


def _signalled(places: Callable[[Stack], Sequence[Place]], number: signal.Signals, *, every: bool = False) -> Strike:
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


def _paused(places: Callable[[Stack], Sequence[Place]]) -> Strike:
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


def _link(links: Callable[[Stack], Sequence[FaultProxy]], conditions: Conditions) -> Strike:
    @asynccontextmanager
    async def strike(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
        link = dice.choice(links(stack))
        link.conditions = conditions
        try:
            yield f"{link.name} link"
        finally:
            link.conditions = GOOD

    return strike


def _link_reset(links: Callable[[Stack], Sequence[FaultProxy]]) -> Strike:
    @asynccontextmanager
    async def strike(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
        link = dice.choice(links(stack))
        link.reset()
        yield f"{link.name} link"

    return strike


def _failpoint(name: str, mode: Any, **data: Any) -> Strike:
    @asynccontextmanager
    async def strike(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
        was_set = await set_failpoint(stack.mongodb_url, name, mode, **data)
        try:
            yield "mongod" if was_set else "mongod (did not take it)"
        finally:
            # One that is down forgets it by itself; one that is slow is asked again.
            for _ in range(5):
                if await set_failpoint(stack.mongodb_url, name, "off"):
                    break

    return strike


def _mood(mood: Mood) -> Strike:
    @asynccontextmanager
    async def strike(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
        stack.model.mood = mood
        try:
            yield "model_server"
        finally:
            stack.model.heal()

    return strike


@asynccontextmanager
async def _redis_lost(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
    stack.stores.redis.kill()
    stack.stores.forget_redis()
    yield "redis"


@asynccontextmanager
async def _redis_flushed(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
    async with stack.stores.redis_client() as client:
        with suppress(RedisError, OSError):
            await client.flushall()
    yield "redis"


def _redis_configured(**settings: str) -> Strike:
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


def _member(is_primary: bool, do: Callable[[Member], None], undo: Callable[[Member], None] | None = None) -> Strike:
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
async def _stepped_down(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
    assert stack.replica_set is not None
    await asyncio.to_thread(stack.replica_set.step_down)
    yield "mongod primary"


@asynccontextmanager
async def _clients_leave(stack: Stack, dice: random.Random) -> AsyncIterator[str]:
    await disconnect_storm(stack.api_urls, dice)
    yield "api clients"


def _apis(stack: Stack) -> Sequence[Place]:
    return stack.apis


def _workers(stack: Stack) -> Sequence[Place]:
    return stack.workers


def _mongod(stack: Stack) -> Sequence[Place]:
    assert stack.stores.mongod is not None
    return [stack.stores.mongod]


def _redis(stack: Stack) -> Sequence[Place]:
    return [stack.stores.redis]


def _api_links(stack: Stack) -> Sequence[FaultProxy]:
    return stack.api_links


def _mongodb_link(stack: Stack) -> Sequence[FaultProxy]:
    return [stack.mongodb_link]


def _redis_link(stack: Stack) -> Sequence[FaultProxy]:
    return [stack.redis_link]


def _model_link(stack: Stack) -> Sequence[FaultProxy]:
    return [stack.model_link]


_KILL, _TERM = signal.SIGKILL, signal.SIGTERM
_STALLED = Conditions(is_stalled=True)
_SLOW = Conditions(latency_seconds=0.05, jitter_seconds=0.1)
_AT_ONCE = (0.0, 0.1)

_PROCESSES = [
    FaultKind(name="api_killed", group="api", strike=_signalled(_apis, _KILL), seconds=_AT_ONCE, rest_seconds=2),
    FaultKind(name="api_stopped", group="api", strike=_signalled(_apis, _TERM), seconds=_AT_ONCE, rest_seconds=2),
    FaultKind(name="api_paused", group="api", strike=_paused(_apis), seconds=(1, 4)),
    FaultKind(
        name="all_apis_killed",
        group="api",
        is_heavy=True,
        strike=_signalled(_apis, _KILL, every=True),
        seconds=_AT_ONCE,
        rest_seconds=3,
        share=1,
    ),
    FaultKind(name="worker_killed", group="worker", strike=_signalled(_workers, _KILL), seconds=_AT_ONCE),
    FaultKind(name="worker_stopped", group="worker", strike=_signalled(_workers, _TERM), seconds=_AT_ONCE),
    FaultKind(name="worker_paused", group="worker", strike=_paused(_workers), seconds=(1, 4)),
    # Longer than a lease of 10 s: it comes back to replies that are others' by then.
    FaultKind(name="worker_undead", group="worker", strike=_paused(_workers), seconds=(11, 14), share=1),
    FaultKind(
        name="all_workers_killed",
        group="worker",
        strike=_signalled(_workers, _KILL, every=True),
        seconds=_AT_ONCE,
        rest_seconds=2,
        share=1,
    ),
]

_SINGLE_NODE = [
    FaultKind(
        name="mongod_killed",
        group="mongodb",
        is_heavy=True,
        strike=_signalled(_mongod, _KILL),
        seconds=_AT_ONCE,
        rest_seconds=4,
        share=1,
    ),
    FaultKind(
        name="mongod_stopped",
        group="mongodb",
        is_heavy=True,
        strike=_signalled(_mongod, _TERM),
        seconds=_AT_ONCE,
        rest_seconds=4,
        share=1,
    ),
    FaultKind(
        name="mongod_paused",
        group="mongodb",
        is_heavy=True,
        strike=_paused(_mongod),
        seconds=(1, 6),
        rest_seconds=4,
        share=1,
    ),
    FaultKind(
        name="mongodb_link_stalled",
        group="mongodb",
        is_heavy=True,
        strike=_link(_mongodb_link, _STALLED),
        seconds=(1, 6),
        rest_seconds=4,
        share=1,
    ),
    FaultKind(
        name="mongodb_link_reset",
        group="mongodb",
        is_heavy=True,
        rest_seconds=3,
        strike=_link_reset(_mongodb_link),
        seconds=_AT_ONCE,
    ),
    FaultKind(
        name="mongodb_link_slow",
        group="mongodb",
        is_heavy=True,
        rest_seconds=3,
        strike=_link(_mongodb_link, _SLOW),
        seconds=(1, 3),
    ),
    FaultKind(
        name="mongodb_link_cut",
        group="mongodb",
        is_heavy=True,
        rest_seconds=3,
        strike=_link(_mongodb_link, Conditions(cut_after_bytes=20_000)),
        seconds=(0.5, 2),
    ),
    FaultKind(
        name="commit_unknown",
        group="mongodb",
        is_heavy=True,
        rest_seconds=3,
        strike=_failpoint("failCommand", {"times": 4}, failCommands=["commitTransaction"], closeConnection=True),
        seconds=(0.5, 2),
    ),
    FaultKind(
        name="commands_refused",
        group="mongodb",
        is_heavy=True,
        rest_seconds=3,
        strike=_failpoint(
            "failCommand",
            {"activationProbability": 0.2},
            failCommands=["find", "insert", "update", "findAndModify", "aggregate", "commitTransaction"],
            closeConnection=True,
        ),
        seconds=(0.5, 2),
    ),
    FaultKind(
        name="commits_slow",
        group="mongodb",
        is_heavy=True,
        rest_seconds=3,
        strike=_failpoint(
            "failCommand",
            {"activationProbability": 0.5},
            failCommands=["commitTransaction", "findAndModify"],
            blockConnection=True,
            blockTimeMS=700,
        ),
        seconds=(1, 3),
    ),
    FaultKind(
        name="write_conflicts",
        group="mongodb",
        is_heavy=True,
        rest_seconds=3,
        strike=_failpoint("WTWriteConflictException", {"activationProbability": 0.05}),
        seconds=(0.5, 2),
    ),
]

_REPLICA_SET = [
    FaultKind(
        name="primary_killed",
        group="mongodb",
        is_heavy=True,
        strike=_member(True, Member.kill),
        seconds=_AT_ONCE,
        rest_seconds=4,
    ),
    FaultKind(
        name="primary_paused",
        group="mongodb",
        is_heavy=True,
        strike=_member(True, Member.pause, Member.resume),
        seconds=(3, 9),
        rest_seconds=4,
    ),
    FaultKind(
        name="primary_stepped_down",
        group="mongodb",
        is_heavy=True,
        strike=_stepped_down,
        seconds=_AT_ONCE,
        rest_seconds=4,
    ),
    FaultKind(
        name="secondary_killed",
        group="mongodb",
        is_heavy=True,
        strike=_member(False, Member.kill),
        seconds=_AT_ONCE,
        rest_seconds=4,
    ),
    FaultKind(
        name="secondary_paused",
        group="mongodb",
        is_heavy=True,
        strike=_member(False, Member.pause, Member.resume),
        seconds=(2, 6),
        rest_seconds=4,
    ),
]

_REDIS = [
    FaultKind(name="redis_lost", group="redis", strike=_redis_lost, seconds=_AT_ONCE, rest_seconds=1),
    FaultKind(name="redis_killed", group="redis", strike=_signalled(_redis, _KILL), seconds=_AT_ONCE, rest_seconds=1),
    FaultKind(name="redis_paused", group="redis", strike=_paused(_redis), seconds=(1, 5)),
    FaultKind(name="redis_flushed", group="redis", strike=_redis_flushed, seconds=_AT_ONCE),
    FaultKind(name="redis_full", group="redis", strike=_redis_configured(maxmemory="1"), seconds=(1, 4)),
    FaultKind(
        name="redis_evicting",
        group="redis",
        strike=_redis_configured(maxmemory_policy="allkeys-random", maxmemory="2mb"),
        seconds=(1, 4),
    ),
    FaultKind(
        name="redis_readonly", group="redis", strike=_redis_configured(min_replicas_to_write="1"), seconds=(1, 3)
    ),
    FaultKind(name="redis_link_stalled", group="redis", strike=_link(_redis_link, _STALLED), seconds=(1, 5)),
    FaultKind(name="redis_link_reset", group="redis", strike=_link_reset(_redis_link), seconds=_AT_ONCE),
    FaultKind(name="redis_link_slow", group="redis", strike=_link(_redis_link, _SLOW), seconds=(1, 3)),
]

_PROVIDER = [
    FaultKind(
        name="provider_down",
        group="provider",
        strike=_link(_model_link, Conditions(is_refusing=True)),
        seconds=(1, 4),
    ),
    FaultKind(name="provider_link_stalled", group="provider", strike=_link(_model_link, _STALLED), seconds=(1, 7)),
    FaultKind(name="provider_link_reset", group="provider", strike=_link_reset(_model_link), seconds=_AT_ONCE),
    FaultKind(
        name="provider_link_narrow",
        group="provider",
        strike=_link(_model_link, Conditions(bytes_per_second=4000, close_seconds=0.5)),
        seconds=(1, 3),
    ),
    *(
        FaultKind(name=f"provider_{mood}", group="provider", strike=_mood(mood), seconds=(1, 3), share=1)
        for mood in Mood
        if mood is not Mood.WELL
    ),
]

_CLIENTS = [
    FaultKind(name="clients_leave", group="clients", strike=_clients_leave, seconds=_AT_ONCE),
    FaultKind(name="api_link_stalled", group="api", strike=_link(_api_links, _STALLED), seconds=(1, 4)),
    FaultKind(name="api_link_reset", group="api", strike=_link_reset(_api_links), seconds=_AT_ONCE),
    FaultKind(
        name="api_link_cut", group="api", strike=_link(_api_links, Conditions(cut_after_bytes=3_000)), seconds=(0.5, 2)
    ),
    FaultKind(name="api_link_slow", group="api", strike=_link(_api_links, _SLOW), seconds=(1, 3)),
]
