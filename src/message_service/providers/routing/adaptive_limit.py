"""How many replies a target takes at once, learnt from its refusals. Pure: every moment is given to it.

Additive increase, multiplicative decrease (Chiu and Jain 1989), as TCP finds its share of a line: a 429 halves what was
in flight, and each full round of good answers allows one more.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitPolicy:
    kept_share: float = 0.5
    """Of what was in flight when a target refused."""
    least: int = 1
    forgotten_after_seconds: float = 300
    """Vendors count by the minute, and what they allow changes: an old refusal says little."""


class AdaptiveLimit:
    """Of one target, as one process sees it. There is no limit before the first refusal."""

    def __init__(self, policy: LimitPolicy | None = None) -> None:
        self._policy = policy or LimitPolicy()
        self._most: float | None = None
        self._refused_at = 0.0

    def most_in_flight(self, at: float) -> int | None:
        """None: no limit is known."""
        if self._most is not None and at >= self._refused_at + self._policy.forgotten_after_seconds:
            self._most = None
        return None if self._most is None else int(self._most)

    def refused(self, at: float, *, asked_at: float, in_flight: int) -> None:
        """A request was refused for there being too many; `in_flight` counts it."""
        most = self.most_in_flight(at)
        if most is not None and asked_at <= self._refused_at:
            return  # asked before the limit shrank: the refusals of one burst shrink it once
        had = in_flight if most is None else min(most, in_flight)
        self._most = max(float(self._policy.least), had * self._policy.kept_share)
        self._refused_at = at

    def answered(self, at: float, *, in_flight: int) -> None:
        """A request came to its end; `in_flight` counts it. Only a limit that is used up grows."""
        most = self.most_in_flight(at)
        if self._most is not None and most is not None and in_flight >= most:
            self._most += 1 / self._most
