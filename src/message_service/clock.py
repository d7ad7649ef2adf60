"""The time, asked for in one place."""

from datetime import UTC, datetime


def now() -> datetime:
    """The current UTC time, cut to the milliseconds that MongoDB keeps."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def rfc3339(moment: datetime) -> str:
    """`moment` as `2026-01-31T12:00:00.123Z`."""
    # Ours are all UTC, and asking each for its offset takes longer than writing it down.
    return (
        f"{moment.year:04}-{moment.month:02}-{moment.day:02}T{moment.hour:02}:{moment.minute:02}:{moment.second:02}"
        f".{moment.microsecond // 1000:03}Z"
    )
