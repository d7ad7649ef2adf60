"""How long a provider asks to be left alone, from the headers of its answer."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from message_service.clock import now

MAX_RETRY_AFTER_SECONDS = 86_400.0
"""A provider cannot put us off for longer; some answer with absurd numbers."""


def retry_after_seconds(headers: Mapping[str, str], *, at: datetime | None = None) -> float | None:
    """How long the provider asks us to wait.

    `retry-after-ms`, which OpenAI added, before `Retry-After` (RFC 9110, 10.2.3): seconds or a date.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _bounded(milliseconds / 1000)
    value = headers.get("Retry-After")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return _bounded(seconds)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _bounded((moment - (at or now())).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is not None and math.isfinite(number) else None


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
