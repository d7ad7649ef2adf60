"""What a run showed, in words and numbers, and the sum over several runs."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.chaos.checker import Figures, Verdict
from tests.chaos.history import History

_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run, as it is kept in a file of results."""

    seed: int
    commit: str
    minutes: float
    mongod_members: int
    posts_per_second: float
    violations: tuple[str, ...]
    figures: Figures

    @classmethod
    def of(cls, history: History, verdict: Verdict, *, mongod_members: int, posts_per_second: float) -> "Result":
        over = history.run.healed or max((one.ended or one.began for one in history.operations), default=0.0)
        return cls(
            seed=history.run.seed,
            commit=history.run.commit,
            minutes=(over - history.run.began) / 60,
            mongod_members=mongod_members,
            posts_per_second=posts_per_second,
            violations=tuple(f"{one.invariant}: {one.what} {' '.join(one.operations)}" for one in verdict.violations),
            figures=verdict.figures,
        )


@dataclass(slots=True)
class Sum:
    """Of all runs in a file of results."""

    runs: int = 0
    minutes: float = 0.0
    acknowledged: int = 0
    violations: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    replies: Counter[str] = field(default_factory=Counter)
    unknown: int = 0

    def add(self, row: Mapping[str, Any]) -> None:
        figures = row["figures"]
        self.runs += 1
        self.minutes += row["minutes"]
        self.acknowledged += figures["acknowledged_messages"]
        self.violations += len(row["violations"])
        self.faults.update(figures["faults"])
        self.replies.update(figures["replies_by_status"])
        self.unknown += sum(count for name, count in figures["operations"].items() if name.endswith(" unknown"))


def append(result: Result, path: Path) -> Sum:
    """Add the run to the file, one JSON object a line; the sum of all in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(orjson.dumps(asdict(result)) + b"\n")
    total = Sum()
    for line in path.read_bytes().splitlines():
        total.add(orjson.loads(line))
    return total


def described(result: Result) -> str:
    figures = result.figures
    lines = [
        f"seed {result.seed}, commit {result.commit}, {result.minutes:.1f} min, {result.mongod_members} mongod, "
        f"{result.posts_per_second:g} posts/s asked for",
        *_counted("faults", Counter(figures.faults)),
        *_counted("operations", Counter(figures.operations)),
        *_counted("replies", Counter(figures.replies_by_status)),
        f"acknowledged messages: {figures.acknowledged_messages}",
        f"availability (answered, not 5xx, within 5 s): {figures.availability_percent:.2f} %; "
        f"worst 10 s {figures.worst_window_percent:.1f} %",
        f"posts: p50 {figures.post_seconds_p50 * 1000:.0f} ms, p99 {figures.post_seconds_p99 * 1000:.0f} ms; "
        f"longest operation {figures.longest_seconds:.1f} s",
        "drained: never" if figures.drain_seconds is None else f"drained {figures.drain_seconds:.1f} s after healing",
        *bounds(len(result.violations), figures.acknowledged_messages, sum(figures.faults.values())),
    ]
    lines += [f"  {line}" for line in result.violations[:_SHOWN]]
    if len(result.violations) > _SHOWN:
        lines.append(f"  and {len(result.violations) - _SHOWN} more")
    return "\n".join(lines)


def summed(total: Sum) -> str:
    return "\n".join(
        [
            f"in all {total.runs} runs, {total.minutes:.1f} min: {total.acknowledged} acknowledged messages, "
            f"{total.unknown} unknown outcomes",
            *_counted("faults", total.faults),
            *_counted("replies", total.replies),
            *bounds(total.violations, total.acknowledged, sum(total.faults.values())),
        ]
    )


def bounds(violations: int, acknowledged: int, faults: int) -> list[str]:
    """No event in N trials bounds its rate below 3/N with 95 % confidence (the rule of three)."""
    if violations or not acknowledged or not faults:
        return [f"violations: {violations}"]
    return [
        f"violations: 0; so with 95 % confidence fewer than {3 / acknowledged:.1e} a message "
        f"and {3 / faults:.1e} a fault"
    ]


def _counted(what: str, counts: Counter[str]) -> list[str]:
    listed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    return [f"{what}: {counts.total()} of {len(counts)} kinds: {listed}"]
