"""Probation: replies whose workers died again and again run few at a time, because one of them may be what kills.

Nobody can tell it from those that only ran beside it. The fewer attempts they have left, the fewer begin together, and
those that live through their beginning are cleared, which gives them their attempt back. So the one which kills takes
some of the others one attempt further and none of them to its end.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from message_service.ids import ReplyId


@dataclass(frozen=True, slots=True)
class _Caution:
    most_at_once: int
    """Replies of one worker that are not cleared yet."""
    seconds: float
    """One that its worker has survived for so long is cleared."""


_CAUTIONS = {3: _Caution(64, 1.0), 2: _Caution(8, 1.0), 1: _Caution(1, 2.0)}
"""By the attempts that remain."""
_FEWEST_ATTEMPTS = 2
"""A worker may die of much else: what it had runs again at once, all of it, the first time."""


def suspect_attempts(max_attempts: int) -> range:
    """How often a reply was tried that is on probation, should its worker have died."""
    return range(max(_FEWEST_ATTEMPTS, max_attempts - max(_CAUTIONS)), max_attempts)


@dataclass(slots=True)
class _Trial:
    caution: _Caution
    ends_at: float
    is_attended: bool = False
    is_claimed: bool = False
    is_cleared: bool = False


class Probation:
    """Of one worker. Replies that are not on probation run beside those that are."""

    def __init__(self, max_attempts: int, *, clock: Callable[[], float] = monotonic) -> None:
        self._max_attempts = max_attempts
        self._clock = clock
        self._trials: dict[ReplyId, _Trial] = {}

    def admit(self, suspects: Mapping[ReplyId, int], *, room: int) -> list[ReplyId]:
        """Those that may begin now, at most `room`, the least suspicious first. Suspects come with their attempts."""
        at = self._clock()
        for reply_id, trial in list(self._trials.items()):
            if not trial.is_attended and trial.ends_at <= at:
                del self._trials[reply_id]  # nobody began it
        limits = [trial.caution.most_at_once for trial in self._trials.values() if not trial.is_cleared]
        admitted: list[ReplyId] = []
        for reply_id, attempts in sorted(suspects.items(), key=lambda one: one[1]):
            if reply_id in self._trials:
                continue
            caution = _CAUTIONS[self._max_attempts - attempts]
            limits.append(caution.most_at_once)
            if len(limits) > min(limits) or len(admitted) == room:
                break
            self._trials[reply_id] = _Trial(caution, at + caution.seconds)
            admitted.append(reply_id)
        return admitted

    @contextmanager
    def attending(self, reply_id: ReplyId) -> Iterator[bool]:
        """While somebody tries to answer the reply. Whether it is on probation, and was admitted."""
        trial = self._trials.get(reply_id)
        if trial is not None:
            trial.is_attended = True
        try:
            yield trial is not None
        finally:
            self._trials.pop(reply_id, None)

    def claimed(self, reply_id: ReplyId) -> None:
        """From here on it may kill."""
        if (trial := self._trials.get(reply_id)) is not None:
            trial.is_claimed = True
            trial.ends_at = self._clock() + trial.caution.seconds

    def survivors(self) -> list[ReplyId]:
        """Those that have run for long enough and are still to be cleared."""
        at = self._clock()
        return [
            reply_id
            for reply_id, trial in self._trials.items()
            if trial.is_claimed and not trial.is_cleared and trial.ends_at <= at
        ]

    def clear(self, reply_ids: Iterable[ReplyId]) -> None:
        """Each has its attempt back, and others may begin."""
        for reply_id in reply_ids:
            if (trial := self._trials.get(reply_id)) is not None:
                trial.is_cleared = True
