"""The time, asked for in one place, and kept in step with a clock that all processes share."""

from datetime import UTC, datetime, timedelta
from time import monotonic

TOLERATED_SECONDS = 1.0
"""How far this machine's clock may be off before the other one's time is taken instead."""


class _ProcessClock:
    """This machine's clock until it was compared, then the time since: setting the clock changes nothing."""

    def __init__(self) -> None:
        self._compared: tuple[datetime, float] | None = None
        """What time it was, and the monotonic clock then."""

    def read(self) -> datetime:
        if self._compared is None:
            return datetime.now(UTC)
        moment, at = self._compared
        return moment + timedelta(seconds=monotonic() - at)

    def compare(self, shared: datetime) -> float:
        ahead_seconds = (datetime.now(UTC) - shared).total_seconds()
        is_right = abs(ahead_seconds) <= TOLERATED_SECONDS
        self._compared = (datetime.now(UTC) if is_right else shared, monotonic())
        return ahead_seconds


_CLOCK = _ProcessClock()


def now() -> datetime:
    """The current UTC time, cut to the milliseconds that MongoDB keeps."""
    moment = _CLOCK.read()
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def keep_in_step(shared: datetime) -> float:
    """Tell what time it is by the clock that all processes share. Returns how many seconds ours is ahead of it.

    Within `TOLERATED_SECONDS` ours counts: the shared one is only known as well as the network is quick.
    """
    return _CLOCK.compare(shared)


def rfc3339(moment: datetime) -> str:
    """`moment` as `2026-01-31T12:00:00.123Z`."""
    # Ours are all UTC, and asking each for its offset takes longer than writing it down.
    return (
        f"{moment.year:04}-{moment.month:02}-{moment.day:02}T{moment.hour:02}:{moment.minute:02}:{moment.second:02}"
        f".{moment.microsecond // 1000:03}Z"
    )
