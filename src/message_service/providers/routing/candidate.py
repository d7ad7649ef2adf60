"""A target as a strategy sees it, at the moment of the choice."""

from dataclasses import dataclass

_ASSUMED_FIRST_TOKEN_SECONDS = 0.1
"""Of a target nobody has asked yet: little, so that it is tried, and not nothing, so that it is not flooded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    name: str
    family: str
    """The provider it is an instance of."""
    tier: int = 1
    """Lower ones are asked first."""
    weight: float = 1
    in_flight: int = 0
    most_in_flight: int | None = None
    first_token_seconds: float | None = None
    """Moving average of the time to the first token; None before there was one."""
    price: float | None = None
    """Estimate of what this reply costs there. None: unknown."""

    @property
    def is_full(self) -> bool:
        return self.most_in_flight is not None and self.in_flight >= self.most_in_flight

    @property
    def load(self) -> float:
        """Expected wait: peak-EWMA load balancing (Finagle), in-flight requests times latency."""
        seconds = _ASSUMED_FIRST_TOKEN_SECONDS if self.first_token_seconds is None else self.first_token_seconds
        return (self.in_flight + 1) * seconds
