"""The kinds of faults there are: what each does to what, how long it lasts, and what comes after; MongoDB's apart."""

import signal
from collections.abc import Sequence

from tests.chaos.fault_kind import AT_ONCE, SLOW, STALLED, FaultKind
from tests.chaos.model_server import Mood
from tests.chaos.mongodb_faults import mongodb_faults
from tests.chaos.proxy import Conditions, FaultProxy
from tests.chaos.stack import Stack
from tests.chaos.strikes import (
    clients_leave,
    link_in,
    link_reset,
    model_in,
    paused,
    redis_configured,
    redis_flushed,
    redis_lost,
    signalled,
)
from tests.chaos.supervised import Place


def fault_kinds(*, mongod_members: int) -> list[FaultKind]:
    """All that can be done to a stack of this size."""
    return [*_PROCESSES, *mongodb_faults(members=mongod_members), *_REDIS, *_PROVIDER, *_CLIENTS]


def _apis(stack: Stack) -> Sequence[Place]:
    return stack.apis


def _workers(stack: Stack) -> Sequence[Place]:
    return stack.workers


def _redis(stack: Stack) -> Sequence[Place]:
    return [stack.stores.redis]


def _api_links(stack: Stack) -> Sequence[FaultProxy]:
    return stack.api_links


def _redis_link(stack: Stack) -> Sequence[FaultProxy]:
    return [stack.redis_link]


def _model_link(stack: Stack) -> Sequence[FaultProxy]:
    return [stack.model_link]


_PROCESSES = [
    FaultKind(name="api_killed", group="api", strike=signalled(_apis, signal.SIGKILL), seconds=AT_ONCE, rest_seconds=2),
    FaultKind(
        name="api_stopped", group="api", strike=signalled(_apis, signal.SIGTERM), seconds=AT_ONCE, rest_seconds=2
    ),
    FaultKind(name="api_paused", group="api", strike=paused(_apis), seconds=(1, 4)),
    FaultKind(
        name="all_apis_killed",
        group="api",
        is_heavy=True,
        strike=signalled(_apis, signal.SIGKILL, every=True),
        seconds=AT_ONCE,
        rest_seconds=3,
        share=1,
    ),
    FaultKind(name="worker_killed", group="worker", strike=signalled(_workers, signal.SIGKILL), seconds=AT_ONCE),
    FaultKind(name="worker_stopped", group="worker", strike=signalled(_workers, signal.SIGTERM), seconds=AT_ONCE),
    FaultKind(name="worker_paused", group="worker", strike=paused(_workers), seconds=(1, 4)),
    # Longer than a lease of 10 s: it comes back to replies that are others' by then.
    FaultKind(name="worker_undead", group="worker", strike=paused(_workers), seconds=(11, 14), share=1),
    FaultKind(
        name="all_workers_killed",
        group="worker",
        strike=signalled(_workers, signal.SIGKILL, every=True),
        seconds=AT_ONCE,
        rest_seconds=2,
        share=1,
    ),
]

_REDIS = [
    FaultKind(name="redis_lost", group="redis", strike=redis_lost, seconds=AT_ONCE, rest_seconds=1),
    FaultKind(
        name="redis_killed", group="redis", strike=signalled(_redis, signal.SIGKILL), seconds=AT_ONCE, rest_seconds=1
    ),
    FaultKind(name="redis_paused", group="redis", strike=paused(_redis), seconds=(1, 5)),
    FaultKind(name="redis_flushed", group="redis", strike=redis_flushed, seconds=AT_ONCE),
    FaultKind(name="redis_full", group="redis", strike=redis_configured(maxmemory="1"), seconds=(1, 4)),
    FaultKind(
        name="redis_evicting",
        group="redis",
        strike=redis_configured(maxmemory_policy="allkeys-random", maxmemory="2mb"),
        seconds=(1, 4),
    ),
    FaultKind(name="redis_readonly", group="redis", strike=redis_configured(min_replicas_to_write="1"), seconds=(1, 3)),
    FaultKind(name="redis_link_stalled", group="redis", strike=link_in(_redis_link, STALLED), seconds=(1, 5)),
    FaultKind(name="redis_link_reset", group="redis", strike=link_reset(_redis_link), seconds=AT_ONCE),
    FaultKind(name="redis_link_slow", group="redis", strike=link_in(_redis_link, SLOW), seconds=(1, 3)),
]

_PROVIDER = [
    FaultKind(
        name="provider_down",
        group="provider",
        strike=link_in(_model_link, Conditions(is_refusing=True)),
        seconds=(1, 4),
    ),
    FaultKind(name="provider_link_stalled", group="provider", strike=link_in(_model_link, STALLED), seconds=(1, 7)),
    FaultKind(name="provider_link_reset", group="provider", strike=link_reset(_model_link), seconds=AT_ONCE),
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
    FaultKind(name="clients_leave", group="clients", strike=clients_leave, seconds=AT_ONCE),
    FaultKind(name="api_link_stalled", group="api", strike=link_in(_api_links, STALLED), seconds=(1, 4)),
    FaultKind(name="api_link_reset", group="api", strike=link_reset(_api_links), seconds=AT_ONCE),
    FaultKind(
        name="api_link_cut",
        group="api",
        strike=link_in(_api_links, Conditions(cut_after_bytes=3_000)),
        seconds=(0.5, 2),
    ),
    FaultKind(name="api_link_slow", group="api", strike=link_in(_api_links, SLOW), seconds=(1, 3)),
]
