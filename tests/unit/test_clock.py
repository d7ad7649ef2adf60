"""Time as MongoDB keeps it and as HTTP shows it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from message_service import clock
from message_service.clock import keep_in_step, now, rfc3339


def test_now_is_cut_to_milliseconds_and_in_utc() -> None:
    before = datetime.now(UTC)
    moment = now()
    assert moment.microsecond % 1000 == 0
    assert moment.utcoffset() == timedelta(0)
    assert before - timedelta(milliseconds=1) < moment <= datetime.now(UTC)


@pytest.fixture
def given_back() -> Iterator[None]:
    """The clock of the process as it was."""
    yield
    keep_in_step(datetime.now(UTC))


@pytest.mark.usefixtures("given_back")
@pytest.mark.parametrize("hours", [-1, 1])
def test_shared_clock_counts_when_ours_is_far_off(hours: int) -> None:
    shared = datetime.now(UTC) + timedelta(hours=hours)
    assert keep_in_step(shared) == pytest.approx(-3600 * hours, abs=1)
    assert abs(now() - shared) < timedelta(seconds=60)
    assert abs(now() - shared) >= timedelta(0)


@pytest.mark.usefixtures("given_back")
def test_own_clock_counts_when_it_is_about_right() -> None:
    assert keep_in_step(datetime.now(UTC) + timedelta(seconds=0.9)) == pytest.approx(-0.9, abs=0.5)
    assert now() <= datetime.now(UTC)


@pytest.mark.usefixtures("given_back")
def test_time_goes_on_evenly_when_our_clock_is_set_after_it_was_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_in_step(datetime.now(UTC))
    before = now()

    class SetBack(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # a plain one
            return datetime.now(tz) - timedelta(days=1)

    monkeypatch.setattr(clock, "datetime", SetBack)
    assert before <= now() < before + timedelta(seconds=60)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 1, 31, 12, 0, 0, 123000, UTC), "2026-01-31T12:00:00.123Z"),
        (datetime(2026, 1, 31, tzinfo=UTC), "2026-01-31T00:00:00.000Z"),
        (datetime(2026, 12, 31, 23, 59, 59, 999000, UTC), "2026-12-31T23:59:59.999Z"),
        (datetime(2026, 1, 31, 12, 0, 0, 7000, UTC), "2026-01-31T12:00:00.007Z"),
    ],
)
def test_time_is_written_with_milliseconds_and_z(moment: datetime, text: str) -> None:
    assert rfc3339(moment) == text


@given(st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  # the zone is drawn
def test_time_is_the_same_when_it_is_read_back(moment: datetime) -> None:
    kept = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert datetime.fromisoformat(rfc3339(kept)) == kept
