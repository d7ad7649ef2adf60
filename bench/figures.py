"""What a benchmark found: samples of ours beside samples of the peer, round by round, and whether the target is met."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Judged(StrEnum):
    """What the target is a bound on."""

    RATIO = "ratio"
    """Ours divided by the peer's of the same round."""
    DIFFERENCE = "difference"
    """Ours minus the peer's of the same round."""
    VALUE = "value"
    """Ours."""


@dataclass(frozen=True, slots=True)
class Target:
    judged: Judged
    bound: float
    is_at_least: bool = False
    """Whether more is better. Otherwise the bound is the most that is allowed."""

    def is_met(self, found: float) -> bool:
        return found >= self.bound if self.is_at_least else found <= self.bound


def at_least_times_peer(bound: float) -> Target:
    return Target(Judged.RATIO, bound, is_at_least=True)


def at_most_times_peer(bound: float) -> Target:
    return Target(Judged.RATIO, bound)


def at_most_above_peer(bound: float) -> Target:
    return Target(Judged.DIFFERENCE, bound)


def at_most(bound: float) -> Target:
    return Target(Judged.VALUE, bound)


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and greatest of the rounds."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        return cls(statistics.median(samples), min(samples), max(samples))


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table. `ours` and `peer` hold one sample a round, in the same order."""

    benchmark: str
    name: str
    unit: str
    ours: tuple[float, ...]
    peer_name: str = ""
    peer: tuple[float, ...] = ()
    """Empty when there is nobody to compare with."""
    target: Target | None = None
    """None: shown for understanding, not judged."""

    def __post_init__(self) -> None:
        if not self.ours or len(self.peer) not in (0, len(self.ours)):
            raise ValueError(f"{self.benchmark} {self.name}: rounds of both sides must pair up")

    @property
    def comparison(self) -> Spread | None:
        """The ratio, or the difference where the target is a bound on that."""
        if not self.peer:
            return None
        pairs = list(zip(self.ours, self.peer, strict=True))
        if self.target is not None and self.target.judged is Judged.DIFFERENCE:
            return Spread.of([ours - peer for ours, peer in pairs])
        return Spread.of([ours / peer for ours, peer in pairs])

    @property
    def is_met(self) -> bool | None:
        """None when nothing is asked."""
        if self.target is None:
            return None
        if self.target.judged is Judged.VALUE:
            return self.target.is_met(Spread.of(self.ours).median)
        assert self.comparison is not None
        return self.target.is_met(self.comparison.median)
