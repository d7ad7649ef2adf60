"""How long a provider asks us to wait, in whatever form it says so."""

from datetime import UTC, datetime

import pytest

from message_service.providers.retry_after import MAX_RETRY_AFTER_SECONDS, retry_after_seconds

_NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "4294967295"}, MAX_RETRY_AFTER_SECONDS),
        ({"Retry-After": "Sun, 22 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"Retry-After": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"Retry-After": "Sun, 22 Nov 2026 12:00:30 -0000"}, 30.0),
        ({"Retry-After": "99 Nov 2026"}, None),
        ({"retry-after-ms": "250", "Retry-After": "1"}, 0.25),
        ({"retry-after-ms": "x", "Retry-After": "1"}, 1.0),
    ],
)
def test_wait_is_understood_when_it_is_given_in_any_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_seconds(headers, at=_NOW) == seconds
