"""How much a run measures."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.figures import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    rounds: int
    measure_seconds: float
    """Of each measurement, after `warm_up_seconds`."""
    warm_up_seconds: float
    collection_messages: int
    """Size of the large collection of `history`."""
    say: Callable[[str], None]
    """Tells whoever waits what is being done."""


Benchmark = Callable[[Scope], list[Figure]]
