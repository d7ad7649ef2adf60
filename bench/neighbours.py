"""How much of the machine other processes took while we measured: what they take, no side of a comparison gets."""

import os
import time
from pathlib import Path

from bench.processes import cpu_seconds

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_IDLE_FIELDS = (3, 4)
"""`idle` and `iowait` of /proc/stat (proc(5))."""
_COUNTED_FIELDS = 8
"""What follows them, guest time, is part of user time already."""


class Neighbours:
    """Counts from when it is made. Children of ours are ours once they have ended or while they live."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()
        self._busy_before = _busy_seconds() - cpu_seconds([os.getpid()])

    def share(self) -> float:
        """Part of all processors' time since then that others used, 0 to 1."""
        used = _busy_seconds() - cpu_seconds([os.getpid()]) - self._busy_before
        available = (time.monotonic() - self._began_at) * (os.cpu_count() or 1)
        return max(0.0, used / available)


def _busy_seconds() -> float:
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]][:_COUNTED_FIELDS]
    return (sum(ticks) - sum(ticks[field] for field in _IDLE_FIELDS)) / _CLOCK_TICKS
