"""Which parameter a provider refuses, by what it says, and whether that holds for every request to the model. Pure."""

import re
from collections.abc import Mapping

_MAY_BE_LEFT_OUT = (
    "temperature",
    "stop",
    "reasoning",
    "reasoning_effort",
    "thinking",
    "prompt_cache_key",
    "stream_options",
)
"""Parameters without which a reply is still the one that was asked for, more or less."""
_OF_CALLERS = frozenset({"temperature", "stop"})
"""Their values differ from prompt to prompt, so that a refusal may be about one value only."""
_MAX_TOKENS, _ITS_OTHER_NAME = "max_tokens", "max_completion_tokens"

_NEVER = re.compile(
    r"unsupported|not supported|unknown|unrecogni[sz]ed|unexpected|deprecated|removed|no longer"
    r"|(?:do(?:es)? not|do(?:es)?n't|cannot|can't) (?:support|accept|allow|permit|take)"
    r"|not (?:allowed|permitted|accepted|available|compatible)|\bonly .{1,60}\b(?:allowed|supported)",
    re.IGNORECASE,
)
_A_BOUND = re.compile(
    r"[<>]=|[<>] ?-?\d|\bat (?:most|least)\b|\bbetween\b|\b(?:max|min)imum\b|\brange\b|\btoo (?:high|large|long|many)\b"
    r"|\b(?:less|greater|larger|lower|higher|more) than\b",
    re.IGNORECASE,
)


def refused(body: Mapping[str, object], told: str) -> frozenset[str]:
    """The parameters in `body` that `told` names and that can be done without, or under another name."""
    named = {name for name in _MAY_BE_LEFT_OUT if name in body and re.search(rf"(?<![a-z]){name}(?![a-z])", told)}
    if _MAX_TOKENS in body and _ITS_OTHER_NAME in told and _is_never(told):
        named.add(_MAX_TOKENS)
    return frozenset(named)


def refused_for_good(names: frozenset[str], told: str) -> frozenset[str]:
    """Those of `names` that the model takes with no value at all, rather than not with the one a caller gave."""
    return names if _is_never(told) else names - _OF_CALLERS


def _is_never(told: str) -> bool:
    return _NEVER.search(told) is not None and _A_BOUND.search(told) is None
