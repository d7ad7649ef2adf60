"""The kinds of faults there are: what each does to what, how long it lasts, and what comes after."""

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.model_server import Mood
from tests.chaos.proxy import Conditions, FaultProxy
from tests.chaos.stack import Stack
from tests.chaos.strikes import (
    Strike,
    clients_leave,
    failpoint,
    link_in,
    link_reset,
    majority_paused,
    model_in,
    mongod_member,
    paused,
    primary_left_behind,
    redis_configured,
    redis_flushed,
    redis_lost,
    signalled,
    stepped_down,
)
from tests.chaos.supervised import Place
from tests.fixtures.replica_set import Member


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
    return [*_PROCESSES, *own, *_FAILPOINTS, *_REDIS, *_PROVIDER, *_CLIENTS]


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
    FaultKind(name="api_killed", group="api", strike=signalled(_apis, _KILL), seconds=_AT_ONCE, rest_seconds=2),
    FaultKind(name="api_stopped", group="api", strike=signalled(_apis, _TERM), seconds=_AT_ONCE, rest_seconds=2),
    FaultKind(name="api_paused", group="api", strike=paused(_apis), seconds=(1, 4)),
    FaultKind(
        name="all_apis_killed",
        group="api",
        is_heavy=True,
        strike=signalled(_apis, _KILL, every=True),
        seconds=_AT_ONCE,
        rest_seconds=3,
        share=1,
    ),
    FaultKind(name="worker_killed", group="worker", strike=signalled(_workers, _KILL), seconds=_AT_ONCE),
    FaultKind(name="worker_stopped", group="worker", strike=signalled(_workers, _TERM), seconds=_AT_ONCE),
    FaultKind(name="worker_paused", group="worker", strike=paused(_workers), seconds=(1, 4)),
    # Longer than a lease of 10 s: it comes back to replies that are others' by then.
    FaultKind(name="worker_undead", group="worker", strike=paused(_workers), seconds=(11, 14), share=1),
    FaultKind(
        name="all_workers_killed",
        group="worker",
        strike=signalled(_workers, _KILL, every=True),
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
        strike=signalled(_mongod, _KILL),
        seconds=_AT_ONCE,
        rest_seconds=4,
        share=1,
    ),
    FaultKind(
        name="mongod_stopped",
        group="mongodb",
        is_heavy=True,
        strike=signalled(_mongod, _TERM),
        seconds=_AT_ONCE,
        rest_seconds=4,
        share=1,
    ),
    FaultKind(
        name="mongod_paused",
        group="mongodb",
        is_heavy=True,
        strike=paused(_mongod),
        seconds=(1, 6),
        rest_seconds=4,
        share=1,
    ),
    FaultKind(
        name="mongodb_link_stalled",
        group="mongodb",
        is_heavy=True,
        strike=link_in(_mongodb_link, _STALLED),
        seconds=(1, 6),
        rest_seconds=4,
        share=1,
    ),
    FaultKind(
        name="mongodb_link_reset",
        group="mongodb",
        is_heavy=True,
        rest_seconds=3,
        strike=link_reset(_mongodb_link),
        seconds=_AT_ONCE,
    ),
    FaultKind(
        name="mongodb_link_slow",
        group="mongodb",
        is_heavy=True,
        rest_seconds=3,
        strike=link_in(_mongodb_link, _SLOW),
        seconds=(1, 3),
    ),
    FaultKind(
        name="mongodb_link_cut",
        group="mongodb",
        is_heavy=True,
        rest_seconds=3,
        strike=link_in(_mongodb_link, Conditions(cut_after_bytes=20_000)),
        seconds=(0.5, 2),
    ),
]

_COMMANDS = ["find", "insert", "update", "findAndModify", "aggregate", "commitTransaction"]
_FAILPOINTS = [
    FaultKind(
        name="commit_unknown",
        group="mongodb",
        is_heavy=True,
        rest_seconds=3,
        strike=failpoint("failCommand", {"times": 4}, failCommands=["commitTransaction"], closeConnection=True),
        seconds=(0.5, 2),
    ),
    FaultKind(
        name="commands_refused",
        group="mongodb",
        is_heavy=True,
        rest_seconds=3,
        strike=failpoint(
            "failCommand",
            {"activationProbability": 0.2},
            failCommands=_COMMANDS,
            closeConnection=True,
        ),
        seconds=(0.5, 2),
    ),
    FaultKind(
        name="commits_slow",
        group="mongodb",
        is_heavy=True,
        rest_seconds=3,
        strike=failpoint(
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
        strike=failpoint("WTWriteConflictException", {"activationProbability": 0.05}),
        seconds=(0.5, 2),
    ),
    # Writers of one conversation meet again and again: bounded retries, and nobody starves.
    FaultKind(
        name="write_conflict_storm",
        group="mongodb",
        is_heavy=True,
        rest_seconds=3,
        strike=failpoint("WTWriteConflictException", {"activationProbability": 0.3}),
        seconds=(0.5, 2),
        share=1,
    ),
    FaultKind(
        name="commands_slow",
        group="mongodb",
        is_heavy=True,
        rest_seconds=3,
        strike=failpoint(
            "failCommand",
            {"activationProbability": 0.5},
            failCommands=[*_COMMANDS, "getMore"],
            blockConnection=True,
            blockTimeMS=2000,
        ),
        seconds=(1, 4),
        share=1,
    ),
]

_REPLICA_SET = [
    FaultKind(
        name="primary_killed",
        group="mongodb",
        is_heavy=True,
        strike=mongod_member(True, Member.kill),
        seconds=_AT_ONCE,
        rest_seconds=4,
    ),
    FaultKind(
        name="primary_paused",
        group="mongodb",
        is_heavy=True,
        strike=mongod_member(True, Member.pause, Member.resume),
        seconds=(3, 9),
        rest_seconds=4,
    ),
    FaultKind(
        name="primary_stepped_down",
        group="mongodb",
        is_heavy=True,
        strike=stepped_down,
        seconds=_AT_ONCE,
        rest_seconds=4,
    ),
    FaultKind(
        name="secondary_killed",
        group="mongodb",
        is_heavy=True,
        strike=mongod_member(False, Member.kill),
        seconds=_AT_ONCE,
        rest_seconds=4,
    ),
    FaultKind(
        name="secondary_paused",
        group="mongodb",
        is_heavy=True,
        strike=mongod_member(False, Member.pause, Member.resume),
        seconds=(2, 6),
        rest_seconds=4,
    ),
    FaultKind(
        name="majority_paused",
        group="mongodb",
        is_heavy=True,
        strike=majority_paused,
        seconds=(2, 6),
        rest_seconds=4,
        share=1,
    ),
    FaultKind(
        name="primary_left_behind",
        group="mongodb",
        is_heavy=True,
        strike=primary_left_behind,
        seconds=(5, 9),
        rest_seconds=4,
    ),
]

_REDIS = [
    FaultKind(name="redis_lost", group="redis", strike=redis_lost, seconds=_AT_ONCE, rest_seconds=1),
    FaultKind(name="redis_killed", group="redis", strike=signalled(_redis, _KILL), seconds=_AT_ONCE, rest_seconds=1),
    FaultKind(name="redis_paused", group="redis", strike=paused(_redis), seconds=(1, 5)),
    FaultKind(name="redis_flushed", group="redis", strike=redis_flushed, seconds=_AT_ONCE),
    FaultKind(name="redis_full", group="redis", strike=redis_configured(maxmemory="1"), seconds=(1, 4)),
    FaultKind(
        name="redis_evicting",
        group="redis",
        strike=redis_configured(maxmemory_policy="allkeys-random", maxmemory="2mb"),
        seconds=(1, 4),
    ),
    FaultKind(name="redis_readonly", group="redis", strike=redis_configured(min_replicas_to_write="1"), seconds=(1, 3)),
    FaultKind(name="redis_link_stalled", group="redis", strike=link_in(_redis_link, _STALLED), seconds=(1, 5)),
    FaultKind(name="redis_link_reset", group="redis", strike=link_reset(_redis_link), seconds=_AT_ONCE),
    FaultKind(name="redis_link_slow", group="redis", strike=link_in(_redis_link, _SLOW), seconds=(1, 3)),
]

_PROVIDER = [
    FaultKind(
        name="provider_down",
        group="provider",
        strike=link_in(_model_link, Conditions(is_refusing=True)),
        seconds=(1, 4),
    ),
    FaultKind(name="provider_link_stalled", group="provider", strike=link_in(_model_link, _STALLED), seconds=(1, 7)),
    FaultKind(name="provider_link_reset", group="provider", strike=link_reset(_model_link), seconds=_AT_ONCE),
    FaultKind(
        name="provider_link_narrow",
        group="provider",
        strike=link_in(_model_link, Conditions(bytes_per_second=4000, close_seconds=0.5)),
        seconds=(1, 3),
    ),
    *(
        FaultKind(name=f"provider_{mood}", group="provider", strike=model_in(mood), seconds=(1, 3), share=1)
        for mood in Mood
        if mood is not Mood.WELL
    ),
]

_CLIENTS = [
    FaultKind(name="clients_leave", group="clients", strike=clients_leave, seconds=_AT_ONCE),
    FaultKind(name="api_link_stalled", group="api", strike=link_in(_api_links, _STALLED), seconds=(1, 4)),
    FaultKind(name="api_link_reset", group="api", strike=link_reset(_api_links), seconds=_AT_ONCE),
    FaultKind(
        name="api_link_cut",
        group="api",
        strike=link_in(_api_links, Conditions(cut_after_bytes=3_000)),
        seconds=(0.5, 2),
    ),
    FaultKind(name="api_link_slow", group="api", strike=link_in(_api_links, _SLOW), seconds=(1, 3)),
]
