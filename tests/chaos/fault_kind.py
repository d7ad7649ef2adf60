"""What a kind of fault is."""

from dataclasses import dataclass

from tests.chaos.proxy import Conditions
from tests.chaos.strikes import Strike

AT_ONCE = (0.0, 0.1)
"""Seconds of a fault that is over as soon as it was made."""
STALLED = Conditions(is_stalled=True)
SLOW = Conditions(latency_seconds=0.05, jitter_seconds=0.1)


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
