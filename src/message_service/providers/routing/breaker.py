"""When a target is left alone: a circuit breaker that knows why it opened. Pure: every moment is given to it."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, StrEnum

from message_service.errors import (
    ContextTooLong,
    EmptyResponse,
    ModelNotFound,
    ModelUnavailable,
    NoProviderAvailable,
    OutputSpentOnReasoning,
    ProviderAuthFailed,
    ProviderConnectFailed,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRequestInvalid,
    ProviderTimeout,
    StreamCut,
)


class Blame(Enum):
    """What an error says about the target it came from."""

    NONE = 0
    """Nothing: it is about the prompt."""
    COUNTED = 1
    """The target failed; several of these open the breaker."""
    PAUSES = 2
    """The target is well and wants to be left alone for a while."""
    OPENS = 3
    """Nothing can succeed there until a person acts."""


BLAME: Mapping[type[ProviderError], Blame] = {
    ContextTooLong: Blame.NONE,
    EmptyResponse: Blame.NONE,
    NoProviderAvailable: Blame.NONE,
    OutputSpentOnReasoning: Blame.NONE,
    ProviderRequestInvalid: Blame.NONE,
    ModelUnavailable: Blame.COUNTED,
    ProviderConnectFailed: Blame.COUNTED,
    ProviderFailed: Blame.COUNTED,
    ProviderOverloaded: Blame.COUNTED,
    ProviderTimeout: Blame.COUNTED,
    StreamCut: Blame.COUNTED,
    ProviderRateLimited: Blame.PAUSES,
    ModelNotFound: Blame.OPENS,
    ProviderAuthFailed: Blame.OPENS,
    ProviderQuotaExhausted: Blame.OPENS,
}
LASTING = frozenset(kind.code for kind, blame in BLAME.items() if blame is Blame.OPENS)
"""Codes of what waiting does not cure."""


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """The open time is over; one request at a time may find out whether the target is well."""


class Admission(Enum):
    PASS = "pass"
    PROBE = "probe"
    """Only as the one request that finds out."""
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """Envoy's outlier detection in the main: so many failures in a row, or such a share of the last calls."""

    failures_in_a_row: int = 5
    window_calls: int = 20
    window_seconds: float = 60
    least_calls: int = 10
    failed_share: float = 0.5
    first_open_seconds: float = 5
    longest_open_seconds: float = 60
    first_lasting_open_seconds: float = 60
    longest_lasting_open_seconds: float = 300
    """Also the longest a Retry-After is obeyed."""
    probes_to_close: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Ejection:
    """Why a target is left alone and until when. The whole of what workers tell one another."""

    ends_at: float
    reason: str
    """Code of the error that led to it."""
    openings: int = 1
    """How often in a row; the open time doubles with each."""
    is_pause: bool = False
    """Whether the target is trusted again at the end, without a probe."""
    good_probes: int = 0


class Breaker:
    """One target's breaker, as one process sees it."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._calls: deque[tuple[float, bool]] = deque(maxlen=policy.window_calls)
        self._failures_in_a_row = 0
        self.ejection: Ejection | None = None
        self.changes = 0
        """Rises with each change of `ejection` made here; tells one that crossed with a reading of others'."""

    def state(self, at: float) -> BreakerState:
        if self.ejection is None:
            return BreakerState.CLOSED
        if at < self.ejection.ends_at:
            return BreakerState.OPEN
        return BreakerState.CLOSED if self.ejection.is_pause else BreakerState.HALF_OPEN

    def admission(self, at: float) -> Admission:
        return _ADMISSIONS[self.state(at)]

    def succeeded(self, at: float, *, is_probe: bool) -> None:
        """A call came through; for a probe: reached its first token."""
        state = self.state(at)
        self._failures_in_a_row = 0
        if state is BreakerState.CLOSED:
            self._calls.append((at, True))
            if self.ejection is not None:
                self._set(None)  # a pause that is over
        elif state is BreakerState.HALF_OPEN and is_probe and self.ejection is not None:
            good_probes = self.ejection.good_probes + 1
            if good_probes >= self._policy.probes_to_close:
                self._calls.clear()
                self._set(None)
            else:
                self._set(replace(self.ejection, good_probes=good_probes))

    def failed(self, error: ProviderError, at: float, *, is_probe: bool, chance: float) -> None:
        """A call ended in `error`. `chance` in [0, 1) spreads the open time, so that workers do not probe together."""
        blame = BLAME.get(type(error), Blame.COUNTED)
        state = self.state(at)
        if blame is Blame.NONE or (state is BreakerState.HALF_OPEN and not is_probe):
            return
        if state is BreakerState.OPEN:
            self._prolong(error, at)
            return
        is_tripped = blame is not Blame.COUNTED or state is BreakerState.HALF_OPEN or self._count(at)
        if is_tripped or error.retry_after_seconds is not None:
            is_pause = blame is Blame.PAUSES or not is_tripped
            # In a row are openings of one kind: a target that asked for rests has not failed so often.
            was = self.ejection
            openings = was.openings + 1 if was is not None and was.is_pause is is_pause else 1
            ends_at = at + self._open_seconds(error, openings, chance)
            self._set(Ejection(ends_at=ends_at, reason=error.code, openings=openings, is_pause=is_pause))

    def adopt(self, ejection: Ejection | None) -> None:
        """Take over what another worker found out."""
        if ejection is None and self.ejection is not None:
            self._calls.clear()
            self._failures_in_a_row = 0
        self.ejection = ejection

    def _count(self, at: float) -> bool:
        """Count a failure; whether it is one too many."""
        self._calls.append((at, False))
        self._failures_in_a_row += 1
        while self._calls and self._calls[0][0] < at - self._policy.window_seconds:
            self._calls.popleft()
        failures = sum(not is_good for _, is_good in self._calls)
        return self._failures_in_a_row >= self._policy.failures_in_a_row or (
            len(self._calls) >= self._policy.least_calls and failures >= self._policy.failed_share * len(self._calls)
        )

    def _open_seconds(self, error: ProviderError, openings: int, chance: float) -> float:
        policy = self._policy
        is_lasting = error.code in LASTING
        first = policy.first_lasting_open_seconds if is_lasting else policy.first_open_seconds
        longest = policy.longest_lasting_open_seconds if is_lasting else policy.longest_open_seconds
        seconds = min(longest, first * 2.0 ** min(openings - 1, 30)) * (0.8 + 0.4 * chance)
        if error.retry_after_seconds is None:
            return seconds
        told = min(error.retry_after_seconds, policy.longest_lasting_open_seconds)
        # A target that only asks for a rest says itself how long.
        return told if BLAME.get(type(error)) is Blame.PAUSES else max(seconds, told)

    def _prolong(self, error: ProviderError, at: float) -> None:
        """Calls that began before it opened still end: they do not count, but what they are told does."""
        if self.ejection is None or error.retry_after_seconds is None:
            return
        ends_at = at + min(error.retry_after_seconds, self._policy.longest_lasting_open_seconds)
        if ends_at > self.ejection.ends_at:
            self._set(replace(self.ejection, ends_at=ends_at))

    def _set(self, ejection: Ejection | None) -> None:
        self.ejection = ejection
        self.changes += 1
        if ejection is not None:
            self._failures_in_a_row = 0


_ADMISSIONS = {
    BreakerState.CLOSED: Admission.PASS,
    BreakerState.OPEN: Admission.REFUSE,
    BreakerState.HALF_OPEN: Admission.PROBE,
}
