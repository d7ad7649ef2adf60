"""The `/script` directive: how a message tells the scripted provider what to answer, how fast, and how to fail.

A message whose first line is `/script` followed by options, in any order, each `name=value`:

    tokens=40          words of the reply: the text is cut, or begun again, to come out at exactly that many
    rate=200           words per second; `rate=max` does not wait at all
    first=0.5          seconds before the first word
    say="Hi there"     the exact text; without it the rest of the message is the text, where there is any
    repeat=2           the text that many times
    finish=length      how it ends: stop (default), length, content_filter
    fail=cut@10        fails after 10 words (or at the end of a shorter text); without @ it is refused at once
    retry_after=3      seconds that the failure asks us to wait
    attempts=1         fails on the first so many attempts at the reply only

Kinds of failure: overloaded, rate_limited, quota, auth, invalid, context, model, no_model, unreachable, timeout,
cut, empty, and stall, which says nothing more until the caller gives up. An example:

    /script tokens=40 rate=200 first=0.5 fail=overloaded@10 attempts=2
"""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from message_service.errors import (
    ContextTooLong,
    EmptyResponse,
    ModelNotFound,
    ModelUnavailable,
    ProviderAuthFailed,
    ProviderConnectFailed,
    ProviderError,
    ProviderOverloaded,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRequestInvalid,
    ProviderTimeout,
    StreamCut,
)
from message_service.messages.reply import FinishReason

DIRECTIVE = "/script"
STALL = "stall"
FAULTS: dict[str, type[ProviderError]] = {
    "overloaded": ProviderOverloaded,
    "rate_limited": ProviderRateLimited,
    "quota": ProviderQuotaExhausted,
    "auth": ProviderAuthFailed,
    "invalid": ProviderRequestInvalid,
    "context": ContextTooLong,
    "model": ModelUnavailable,
    "no_model": ModelNotFound,
    "unreachable": ProviderConnectFailed,
    "timeout": ProviderTimeout,
    "cut": StreamCut,
    "empty": EmptyResponse,
}
_ENDS = (FinishReason.STOP, FinishReason.LENGTH, FinishReason.CONTENT_FILTER)
_MAX_LINE_CHARACTERS = 4000


class ScriptInvalid(Exception):
    """The directive makes no sense; the text says why, for whoever wrote it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind` is `STALL` or a key of `FAULTS`. `after_words` None: refused before the reply starts."""

    kind: str
    after_words: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a directive asks for. None: the provider's own choice."""

    text: str | None = None
    words: int | None = None
    repeat: int = 1
    words_per_second: float | None = None
    """`inf` for `rate=max`."""
    first_word_seconds: float = 0.0
    finish: FinishReason = FinishReason.STOP
    fault: Fault | None = None
    retry_after_seconds: float | None = None
    faulty_attempts: int | None = None
    """None: every attempt fails."""

    def fault_on(self, attempt: int) -> Fault | None:
        """The fault of the reply's `attempt`, counted from 1."""
        return None if self.faulty_attempts is not None and attempt > self.faulty_attempts else self.fault


def read_script(message: str) -> Script | None:
    """The directive in `message`; None if there is none. Raises `ScriptInvalid`."""
    line, _, rest = message.partition("\n")
    if line.split(maxsplit=1)[:1] != [DIRECTIVE]:
        return None
    if len(line) > _MAX_LINE_CHARACTERS:
        raise ScriptInvalid(f"the line is longer than {_MAX_LINE_CHARACTERS} characters")
    try:
        options = shlex.split(line)[1:]
    except ValueError:
        raise ScriptInvalid("a quotation mark is missing") from None
    values: dict[str, str] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or name not in _OPTIONS:
            raise ScriptInvalid(f"there is no option {option!r}; there are {', '.join(_OPTIONS)}")
        if name in values:
            raise ScriptInvalid(f"{name} is given twice")
        values[name] = value
    text = rest.strip("\r\n")
    if text and "say" in values:
        raise ScriptInvalid("give the text either with say= or below the line, not both")
    if ("retry_after" in values or "attempts" in values) and "fail" not in values:
        raise ScriptInvalid("retry_after and attempts only go with fail=")
    fields = {_OPTIONS[name][0]: _OPTIONS[name][1](name, value) for name, value in values.items()}
    return replace(Script(text=text or None), **fields)


def _whole(low: int, high: int) -> Callable[[str, str], int]:
    def read(name: str, value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,7}", value) or not low <= int(value) <= high:
            raise ScriptInvalid(f"{name} takes a whole number from {low} to {high:,}, not {value!r}")
        return int(value)

    return read


def _seconds(high: float) -> Callable[[str, str], float]:
    def read(name: str, value: str) -> float:
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value) or float(value) > high:
            raise ScriptInvalid(f"{name} takes seconds from 0 to {high:g}, not {value!r}")
        return float(value)

    return read


def _rate(name: str, value: str) -> float:
    if value == "max":
        return float("inf")
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value) or not 0.01 <= float(value) <= 100_000:
        raise ScriptInvalid(f"{name} takes words per second from 0.01 to 100,000, or max, not {value!r}")
    return float(value)


def _text(name: str, value: str) -> str:
    if not value.strip():
        raise ScriptInvalid(f"{name} is empty")
    return value


def _finish(name: str, value: str) -> FinishReason:
    for end in _ENDS:
        if value == end.value:
            return end
    raise ScriptInvalid(f"{name} takes {', '.join(end.value for end in _ENDS)}, not {value!r}")


def _fault(name: str, value: str) -> Fault:
    kind, at, words = value.partition("@")
    if kind != STALL and kind not in FAULTS:
        raise ScriptInvalid(f"{name} takes {', '.join([*FAULTS, STALL])}, not {kind!r}")
    return Fault(kind, _whole(0, 1_000_000)(f"{name}={kind}@", words) if at else None)


_OPTIONS: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "tokens": ("words", _whole(1, 1_000_000)),
    "rate": ("words_per_second", _rate),
    "first": ("first_word_seconds", _seconds(600)),
    "say": ("text", _text),
    "repeat": ("repeat", _whole(1, 10_000)),
    "finish": ("finish", _finish),
    "fail": ("fault", _fault),
    "retry_after": ("retry_after_seconds", _seconds(3600)),
    "attempts": ("faulty_attempts", _whole(1, 1000)),
}
