"""The faults of MongoDB: of one node alone, of a set of three, and those the server itself can make."""

import signal
from collections.abc import Sequence

from tests.chaos.fault_kind import AT_ONCE, SLOW, STALLED, FaultKind
from tests.chaos.proxy import Conditions, FaultProxy
from tests.chaos.stack import Stack
from tests.chaos.strikes import (
    failpoint,
    link_in,
    link_reset,
    majority_paused,
    mongod_member,
    paused,
    primary_left_behind,
    signalled,
    stepped_down,
)
from tests.chaos.supervised import Place
from tests.fixtures.replica_set import Member


def mongodb_faults(*, members: int) -> list[FaultKind]:
    """All that can be done to so many."""
    return [*(_SINGLE_NODE if members == 1 else _REPLICA_SET), *_FAILPOINTS]


def _mongod(stack: Stack) -> Sequence[Place]:
    assert stack.stores.mongod is not None
    return [stack.stores.mongod]


def _mongodb_link(stack: Stack) -> Sequence[FaultProxy]:
    return [stack.mongodb_link]


_SINGLE_NODE = [
    FaultKind(
        name="mongod_killed",
        group="mongodb",
        is_heavy=True,
        strike=signalled(_mongod, signal.SIGKILL),
        seconds=AT_ONCE,
        rest_seconds=4,
        share=1,
    ),
    FaultKind(
        name="mongod_stopped",
        group="mongodb",
        is_heavy=True,
        strike=signalled(_mongod, signal.SIGTERM),
        seconds=AT_ONCE,
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
        strike=link_in(_mongodb_link, STALLED),
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
        seconds=AT_ONCE,
    ),
    FaultKind(
        name="mongodb_link_slow",
        group="mongodb",
        is_heavy=True,
        rest_seconds=3,
        strike=link_in(_mongodb_link, SLOW),
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
        seconds=AT_ONCE,
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
        seconds=AT_ONCE,
        rest_seconds=4,
    ),
    FaultKind(
        name="secondary_killed",
        group="mongodb",
        is_heavy=True,
        strike=mongod_member(False, Member.kill),
        seconds=AT_ONCE,
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
