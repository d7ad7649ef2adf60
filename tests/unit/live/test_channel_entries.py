"""Entries of the live channel, written and read by processes of different versions."""

from datetime import UTC, datetime

import pytest

from message_service.live.channel import decode
from message_service.live.event import Began, Placed, Position, Step

_AT = Position(1, 0, Step.STARTED)
_TOLD = '"2026-01-02T03:04:05Z"'


@pytest.mark.parametrize(
    ("entry", "began"),
    [
        ('["scripted","one",2]', Began("scripted", "one", 2)),
        (
            f'["scripted","one",2,"here",{_TOLD},7,"of a newer version"]',
            Began("scripted", "one", 2, "here", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), 7),
        ),
    ],
    ids=["older", "newer"],
)
def test_beginning_is_read_when_another_version_wrote_it(entry: str, began: Began) -> None:
    assert decode(str(_AT), {"began": entry}) == Placed(_AT, began)
