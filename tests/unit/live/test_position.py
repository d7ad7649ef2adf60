"""Positions: their order is the stream's, and they are the same as text, as an SSE id and as a Redis entry id."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from message_service.errors import InvalidPosition
from message_service.live.event import QUEUED, START, Position, Step
from message_service.messages.message import MAX_CONTENT_CHARACTERS
from message_service.messages.reply import first_take

POSITIONS = st.builds(
    Position, st.integers(0, 51_000), st.integers(0, MAX_CONTENT_CHARACTERS), st.sampled_from(list(Step))
)


def redis_order(position: Position) -> tuple[int, int]:
    milliseconds, sequence = str(position).split("-")
    return int(milliseconds), int(sequence)


@given(POSITIONS)
def test_position_is_the_same_when_written_and_read(position: Position) -> None:
    assert Position.parse(str(position)) == position


@given(POSITIONS, POSITIONS)
def test_redis_orders_entry_ids_as_positions_are_ordered(one: Position, other: Position) -> None:
    assert (one < other) == (redis_order(one) < redis_order(other))
    assert (one == other) == (str(one) == str(other))


@given(POSITIONS)
def test_parts_fit_when_redis_takes_them_as_64_bits(position: Position) -> None:
    assert all(0 <= part < 2**64 for part in redis_order(position))


@given(st.integers(0, 10_000))
def test_every_take_of_a_claim_is_later_when_the_epoch_rises(epoch: int) -> None:
    assert first_take(epoch + 1) > first_take(epoch)
    assert Position(first_take(epoch), MAX_CONTENT_CHARACTERS, Step.END) < Position(
        first_take(epoch + 1), 0, Step.RESET
    )


def test_first_claim_is_later_when_the_watcher_saw_it_queued() -> None:
    assert START < QUEUED < Position(first_take(1), 0, Step.RESET)


def test_end_comes_last_when_nothing_was_written_after_the_text() -> None:
    at_text = [Position(1000, 5, step) for step in Step]
    assert max(at_text) == Position(1000, 5, Step.END)
    assert min(at_text) == Position(1000, 5, Step.RESET)


@pytest.mark.parametrize(
    "text",
    ["", "-", "1", "1-", "-1", "1-2-3", "01-0", "1-00", "+1-2", " 1-2", "1-2\n", "1--2", "1.0-2", "0x1-2", "١-٢"],
)
def test_position_is_refused_when_it_is_not_one(text: str) -> None:
    with pytest.raises(InvalidPosition):
        Position.parse(text)


def test_position_is_refused_when_it_is_too_large_for_any_stream() -> None:
    assert Position.parse("999999999999999-0").take == 999_999_999_999_999
    with pytest.raises(InvalidPosition):
        Position.parse("1000000000000000-0")


@given(st.text(max_size=20))
def test_text_is_refused_or_kept_to_the_letter_when_anything_is_sent(text: str) -> None:
    try:
        position = Position.parse(text)
    except InvalidPosition:
        return
    assert str(position) == text
