"""Time as MongoDB keeps it and as HTTP shows it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from message_service.clock import now, rfc3339


def test_now_is_cut_to_milliseconds_and_in_utc() -> None:
    before = datetime.now(UTC)
    moment = now()
    assert moment.microsecond % 1000 == 0
    assert moment.utcoffset() == timedelta(0)
    assert before - timedelta(milliseconds=1) < moment <= datetime.now(UTC)


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
