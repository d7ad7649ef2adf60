"""Whether a failed attempt is tried again, and when. A value that decides; the caller obeys."""

import random
from dataclasses import dataclass

from message_service.errors import ProviderError


@dataclass(frozen=True, slots=True)
class TryAgain:
    after_seconds: float
    is_attempt_counted: bool
    """False after an outage: no provider took the prompt, so nothing is known about this message."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    error: ProviderError


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter").

    An attempt that failed at its work is repeated up to `max_attempts`. An outage is waited out until the
    reply's deadline, however long. A provider's Retry-After is obeyed as long as the deadline allows: by the reply
    up to `longest_told_delay_seconds`, beyond that by whoever chooses the provider.
    """

    max_attempts: int
    first_delay_seconds: float = 0.5
    longest_delay_seconds: float = 30
    longest_delay_in_outage_seconds: float = 10
    """Shorter, so that replies start soon after a provider is back."""
    longest_told_delay_seconds: float = 30
    """Of a Retry-After: only who sent it has to be left alone for longer, and another provider may be well sooner."""

    def decide(
        self,
        error: ProviderError,
        *,
        attempts: int,
        claims: int,
        remaining_seconds: float,
        chance: float | None = None,
    ) -> TryAgain | GiveUp:
        """`attempts` that counted, this one included; `claims` there ever were; `chance` in [0, 1) is the dice."""
        dice = random.random() if chance is None else chance
        if error.is_outage:
            delay = self._delay(error, claims, self.longest_delay_in_outage_seconds, dice)
            # Never past the deadline: it then ends the reply, on time.
            return TryAgain(min(delay, max(0.0, remaining_seconds)), is_attempt_counted=False)
        if not error.is_transient or attempts >= self.max_attempts:
            return GiveUp(error)
        delay = self._delay(error, attempts, self.longest_delay_seconds, dice)
        is_in_time = max(delay, error.retry_after_seconds or 0) < remaining_seconds
        return TryAgain(delay, is_attempt_counted=True) if is_in_time else GiveUp(error)

    def _delay(self, error: ProviderError, tries: int, longest_seconds: float, dice: float) -> float:
        # The exponent is bounded because the power of a large one is no float any more.
        ceiling = min(longest_seconds, self.first_delay_seconds * 2.0 ** min(tries - 1, 30))
        return max(ceiling * dice, min(error.retry_after_seconds or 0, self.longest_told_delay_seconds))
