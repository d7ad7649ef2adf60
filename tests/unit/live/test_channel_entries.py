"""Entries of the live channel, written and read by processes of different versions."""

from datetime import UTC, datetime

import pytest

from message_service.live.channel import decode
from message_service.live.event import (
    Began,
    Counted,
    Ended,
    LiveEvent,
    Placed,
    Position,
    ProviderSwitched,
    Step,
    Text,
)
from message_service.messages.reply import Usage

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


@pytest.mark.parametrize(
    ("entry", "event"),
    [
        ({"usage": '[11,5,true,3,2,1,"of a newer version"]'}, Counted(Usage(11, 5, True, 3, 2, 1))),
        ({"switched": '["one","two","stalled","of a newer version"]'}, ProviderSwitched("one", "two", "stalled")),
        ({"text": "Word", "language": "of a newer version"}, Text("Word")),
    ],
    ids=["usage", "switch", "text"],
)
def test_what_a_newer_version_adds_is_passed_over(entry: dict[str, str], event: LiveEvent) -> None:
    assert decode(str(_AT), entry) == Placed(_AT, event)


@pytest.mark.parametrize(
    "entry",
    [{"usage": "[11]"}, {"usage": '{"input": 11}'}, {"switched": "[]"}, {"began": "no JSON"}, {"unheard": "of"}, {}],
)
def test_watchers_are_sent_to_the_store_when_an_entry_cannot_be_read(entry: dict[str, str]) -> None:
    assert decode(str(_AT), entry) == Placed(_AT, Ended())
