"""A message looks the same in JSON whether it comes as an object or as the row of a page."""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import decode, encode

from message_service.api.wire import message_json, stored_message_json
from message_service.ids import CharacterId, MessageId
from message_service.messages.message import Message, Role
from message_service.messages.reply import FinishReason, Usage
from message_service.store.mapping import message_to_row
from tests.fixtures.samples import MOMENT, a_message

EVERYTHING: dict[str, Any] = {
    "parent_id": MessageId("msg_parent"),
    "role": Role.ASSISTANT,
    "character_id": CharacterId("char-1"),
    "metadata": {"mood": "good"},
    "reply_to": MessageId("msg_question"),
    "provider": "scripted",
    "model": "script",
    "finish_reason": FinishReason.LENGTH,
    "usage": Usage(9, 4, True, cached_input_tokens=5, cache_write_tokens=2, reasoning_tokens=1),
    "deleted_at": datetime(2026, 2, 3, 4, 5, 6, 7000, tzinfo=UTC),
}


def as_read_for_a_page(message: Message) -> dict[str, Any]:
    row = message_to_row(message)
    if message.deleted_at is not None:
        row["deleted_at"] = message.deleted_at
    return decode(encode(row))


@pytest.mark.parametrize("field", [None, *EVERYTHING, "all"])
def test_row_of_a_page_looks_like_its_message(field: str | None) -> None:
    changes = EVERYTHING if field == "all" else {field: EVERYTHING[field]} if field is not None else {}
    message = a_message(**changes)
    assert stored_message_json(as_read_for_a_page(message)) == message_json(message)


@pytest.mark.parametrize("moment", [MOMENT, MOMENT.replace(microsecond=0), MOMENT.replace(year=2031, microsecond=7000)])
def test_time_has_milliseconds_whatever_it_is(moment: datetime) -> None:
    message = a_message(created_at=moment)
    shown = stored_message_json(as_read_for_a_page(message))["created_at"]
    assert shown == message_json(message)["created_at"]
    assert len(shown) == len("2026-01-31T12:00:00.123Z")


def test_parts_of_usage_are_zero_when_the_row_is_from_before_they_were_told_apart() -> None:
    message = a_message(usage=Usage(9, 4))
    row = as_read_for_a_page(message)
    row["usage"] = {"input_tokens": 9, "output_tokens": 4, "is_estimated": False}
    assert stored_message_json(row) == message_json(message)
