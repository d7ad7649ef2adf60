"""Cursors: opaque, tied to their listing, and refused when a single bit differs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from message_service.api.cursor import decode_cursor, encode_cursor, is_cursor
from message_service.errors import InvalidCursor

LISTING = "ada conv-1 PageFilter(role=None)"


@given(st.integers(0, 2**32 - 1), st.text())
def test_place_is_the_same_when_a_cursor_comes_back(seq: int, listing: str) -> None:
    cursor = encode_cursor(seq, listing)
    assert decode_cursor(cursor, listing) == seq
    assert is_cursor(cursor)
    assert len(cursor) <= 64, "what a query parameter may hold"
    assert all(character.isalnum() or character in "-_" for character in cursor), "needs no escaping in a URL"


@given(st.integers(0, 10_000), st.text(), st.text())
def test_cursor_is_refused_when_it_belongs_to_another_listing(seq: int, listing: str, other: str) -> None:
    if listing != other:
        with pytest.raises(InvalidCursor):
            decode_cursor(encode_cursor(seq, listing), other)


@pytest.mark.parametrize("seq", [0, 1, 50, 9_999, 10_000])
def test_cursor_is_refused_when_any_bit_is_flipped(seq: int) -> None:
    cursor = encode_cursor(seq, LISTING)
    for place in range(len(cursor)):
        for bit in range(8):
            flipped = cursor[:place] + chr(ord(cursor[place]) ^ 1 << bit) + cursor[place + 1 :]
            with pytest.raises(InvalidCursor):
                decode_cursor(flipped, LISTING)


@pytest.mark.parametrize("place", range(19))
def test_cursor_is_refused_when_it_is_cut_or_grown(place: int) -> None:
    cursor = encode_cursor(77, LISTING)
    for altered in (cursor[:place], cursor[:place] + "A" + cursor[place:], cursor + "=" * place + "A"):
        if altered != cursor:
            with pytest.raises(InvalidCursor):
                decode_cursor(altered, LISTING)


@given(st.text(max_size=64))
def test_text_is_refused_when_it_was_never_a_cursor(text: str) -> None:
    with pytest.raises(InvalidCursor):
        decode_cursor("cur_" + text, LISTING)
