"""Whether a failed attempt is tried again, and when. A value that decides; the caller obeys."""

import random
from dataclasses import dataclass

from message_service.errors import ProviderError


@dataclass(frozen=True, slots=True)
class TryAgain:
    after_seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    error: ProviderError


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter").

    A provider's Retry-After is obeyed as long as the deadline allows.
    """

    max_attempts: int
    first_delay_seconds: float = 0.5
    longest_delay_seconds: float = 30

    def decide(
        self, error: ProviderError, *, attempts: int, remaining_seconds: float, chance: float | None = None
    ) -> TryAgain | GiveUp:
        """`attempts` made so far, this one included; `chance` in [0, 1) stands in for the dice."""
        if not error.is_transient or attempts >= self.max_attempts:
            return GiveUp(error)
        ceiling = min(self.longest_delay_seconds, self.first_delay_seconds * 2 ** (attempts - 1))
        delay = ceiling * (random.random() if chance is None else chance)
        if error.retry_after_seconds is not None:
            delay = max(delay, error.retry_after_seconds)
        return TryAgain(delay) if delay < remaining_seconds else GiveUp(error)
