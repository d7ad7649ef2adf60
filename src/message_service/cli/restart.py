"""When to start a process again that has ended."""

from dataclasses import dataclass

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 10.0
STEADY_SECONDS = 30.0
"""A process that ran this long had started well: its next end counts as the first."""


@dataclass(frozen=True, slots=True)
class Restart:
    """How often in a row a process ended early. Immutable: each end gives the next one."""

    ends_in_a_row: int = 0

    def after_end(self, *, ran_seconds: float) -> "Restart":
        return Restart(1 if ran_seconds >= STEADY_SECONDS else self.ends_in_a_row + 1)

    @property
    def delay_seconds(self) -> float:
        """Nothing after the first end, then 0.2, 0.4, 0.8 ... and never more than 10."""
        if self.ends_in_a_row <= 1:
            return 0.0
        return min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(self.ends_in_a_row - 2, 16))
