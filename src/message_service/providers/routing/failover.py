"""What becomes of a reply whose target fails after some of it was shown. A value that decides; the router obeys."""

from dataclasses import dataclass
from enum import Enum

from message_service.setting_types import MidstreamPolicy

_SHORTEST_OVERLAP_CHARACTERS = 8
"""A shorter repetition may be meant."""
_LONGEST_OVERLAP_CHARACTERS = 64


class Verdict(Enum):
    RESTART = "restart"
    """Take back what was shown, and begin again elsewhere."""
    KEEP = "keep"
    """Keep what was shown, as an incomplete reply."""
    CONTINUE = "continue"
    """Go on elsewhere from where it broke off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A reply at the moment its target failed."""

    tokens_shown: int
    seconds_shown: float
    """Since the first of them."""
    can_continue: bool
    """Whether the next target runs the same model and goes on from a given beginning."""
    seconds_left: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FailoverPolicy:
    midstream: MidstreamPolicy = "auto"
    few_tokens: int = 40
    moment_seconds: float = 2
    least_seconds_to_begin_again: float = 2
    """With less time than this a new beginning would only lose what there is."""

    def decide(self, broken: Broken) -> Verdict:
        if self.midstream == "keep" or broken.seconds_left < self.least_seconds_to_begin_again:
            return Verdict.KEEP
        if self.midstream == "restart":
            return Verdict.RESTART
        if self.midstream == "continue":
            return Verdict.CONTINUE if broken.can_continue else Verdict.KEEP
        is_little = broken.tokens_shown <= self.few_tokens or broken.seconds_shown < self.moment_seconds
        return Verdict.RESTART if is_little else Verdict.KEEP


class Joint:
    """Joins a continuation on to what was shown: drops what it repeats of the end, however it is cut into pieces."""

    def __init__(self, shown: str) -> None:
        self._end = shown[-_LONGEST_OVERLAP_CHARACTERS:]
        self._held = ""
        self._is_joined = len(self._end) < _SHORTEST_OVERLAP_CHARACTERS

    def feed(self, piece: str) -> str:
        """What of the continuation so far may be shown now and was not yet; perhaps nothing."""
        if self._is_joined:
            return piece
        self._held += piece
        may_repeat_more = len(self._held) < len(self._end) and any(
            self._end[start:].startswith(self._held) for start in range(len(self._end))
        )
        return "" if may_repeat_more else self.end()

    def end(self) -> str:
        """What was held back and is no repetition."""
        held, self._held = self._held, ""
        if self._is_joined:
            return held
        self._is_joined = True
        for length in range(min(len(self._end), len(held)), _SHORTEST_OVERLAP_CHARACTERS - 1, -1):
            if held.startswith(self._end[-length:]):
                return held[length:]
        return held
