"""Whether a history keeps every promise: a pure function of what clients saw, and of what was there at the end.

Bodies are unique, so no search for a linear order is needed: one pass over each conversation, in the order of time.
"""

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.chaos.history import Action, History, Outcome
from tests.chaos.invariants.evidence import Evidence, Violation
from tests.chaos.invariants.order import limits_are_kept, places_are_dense_and_in_order
from tests.chaos.invariants.outcomes import (
    audited_once,
    ended_by_the_last_claim,
    one_outcome_each,
    outcomes_in_question_order,
)
from tests.chaos.invariants.posts import acknowledged_is_stored, key_means_one_thing, stored_was_asked_for
from tests.chaos.invariants.reads import nobody_reads_anothers, reads_agree, shown_stays_shown, walks_are_whole
from tests.chaos.invariants.streams import streams_are_whole

INVARIANTS: dict[str, Callable[[Evidence], Iterator[Violation]]] = {
    "I1": acknowledged_is_stored,
    "I2": stored_was_asked_for,
    "I3": key_means_one_thing,
    "I4": one_outcome_each,
    "I5": places_are_dense_and_in_order,
    "I6": outcomes_in_question_order,
    "I7": reads_agree,
    "I8": shown_stays_shown,
    "I9": walks_are_whole,
    "I10": streams_are_whole,
    "I11": nobody_reads_anothers,
    "I12": limits_are_kept,
    "I13": ended_by_the_last_claim,
    "I14": audited_once,
}

_WINDOW_SECONDS = 10.0
_AVAILABLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a run measured rather than proved (I15, I16)."""

    operations: dict[str, int]
    """By action and outcome: `post ok`."""
    faults: dict[str, int]
    acknowledged_messages: int
    replies_by_status: dict[str, int]
    drain_seconds: float | None
    """From the last heal until the last reply had ended; None: it did not."""
    availability_percent: float
    """Operations but watches that were answered, not with 5xx, within 5 s."""
    worst_window_percent: float
    """The same in the worst 10 s that had 20 operations or more."""
    post_seconds_p50: float
    post_seconds_p99: float
    longest_seconds: float
    """Of all operations but watches."""


@dataclass(frozen=True, slots=True)
class Verdict:
    violations: tuple[Violation, ...]
    figures: Figures

    @property
    def invariants(self) -> set[str]:
        """Those that were violated."""
        return {found.invariant for found in self.violations}


def check(history: History) -> Verdict:
    with _without_collecting():
        evidence = Evidence(history)
        found = [violation for invariant in INVARIANTS.values() for violation in invariant(evidence)]
        return Verdict(tuple(found), figures_of(history))


@contextmanager
def _without_collecting() -> Iterator[None]:
    """A million operations are no garbage, and looking for some among them takes longer than checking them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def figures_of(history: History) -> Figures:
    run = history.run
    short = [operation for operation in history.operations if operation.action is not Action.WATCH]
    windows: dict[int, list[bool]] = {}
    for operation in short:
        is_answered = operation.outcome is not Outcome.UNKNOWN and operation.ended is not None
        in_time = is_answered and (operation.ended or 0) - operation.began <= _AVAILABLE_SECONDS
        windows.setdefault(int((operation.began - run.began) // _WINDOW_SECONDS), []).append(in_time)
    durations = sorted(one.ended - one.began for one in short if one.ended is not None)
    posts = sorted(
        one.ended - one.began
        for one in short
        if one.action is Action.POST and one.outcome is Outcome.OK and one.ended is not None
    )
    answered = [in_time for window in windows.values() for in_time in window]
    shares = [_percent(window) for window in windows.values() if len(window) >= 20]
    return Figures(
        operations=dict(sorted(Counter(f"{one.action} {one.outcome}" for one in history.operations).items())),
        faults=dict(sorted(Counter(fault.kind for fault in history.faults).items())),
        acknowledged_messages=len(
            {one.message_id for one in short if one.action in (Action.POST, Action.REPOST) and one.message_id}
        ),
        replies_by_status=dict(sorted(Counter(reply.status for reply in history.replies).items())),
        drain_seconds=None if run.drained is None or run.healed is None else run.drained - run.healed,
        availability_percent=_percent(answered),
        worst_window_percent=min(shares, default=_percent(answered)),
        post_seconds_p50=_quantile(posts, 0.5),
        post_seconds_p99=_quantile(posts, 0.99),
        longest_seconds=durations[-1] if durations else 0.0,
    )


def _percent(hits: list[bool]) -> float:
    return 100 * sum(hits) / len(hits) if hits else 100.0


def _quantile(in_order: list[float], share: float) -> float:
    return in_order[min(len(in_order) - 1, int(share * len(in_order)))] if in_order else 0.0
