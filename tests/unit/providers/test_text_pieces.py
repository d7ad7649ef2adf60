"""Text that ends before a stop sequence, wherever its pieces are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from message_service.providers.text_pieces import StopSequences, TextPieces


def _read(pieces: list[str], *stop: str) -> tuple[str, bool]:
    text = TextPieces(stop)
    shown = "".join(text.feed(piece) for piece in pieces)
    return shown + text.feed("", is_last=True), text.is_stopped


@pytest.mark.parametrize(
    ("pieces", "stop", "shown", "is_stopped"),
    [
        (["One. END Two."], ("END",), "One. ", True),
        (["One. E", "N", "D Two."], ("END",), "One. ", True),
        (["One. EN"], ("END",), "One. EN", False),
        (["One. EN", "ough."], ("END",), "One. ENough.", False),
        (["aab"], ("ab",), "a", True),
        (["a", "a", "b"], ("ab",), "a", True),
        (["x\n", "\ny"], ("\n\n",), "x", True),
        (["b a"], ("a", "b"), "", True),
        (["END"], ("END",), "", True),
        (["<think>END</think>Yes. END"], ("END",), "Yes. ", True),
        (["text"], (), "text", False),
    ],
)
def test_text_ends_before_the_first_stop_sequence(
    pieces: list[str], stop: tuple[str, ...], shown: str, is_stopped: bool
) -> None:
    assert _read(pieces, *stop) == (shown, is_stopped)


@given(st.text("abc\n", max_size=40), st.lists(st.text("abc\n", min_size=1, max_size=4), min_size=1, max_size=4))
def test_cuts_change_nothing_when_a_text_comes_in_single_characters(text: str, sequences: list[str]) -> None:
    stop = StopSequences(sequences)
    shown = "".join(stop.feed(character) for character in text) + stop.end()
    ends = [at for sequence in sequences if (at := text.find(sequence)) >= 0]
    # Piece by piece the sequence that is complete first wins: it may begin after a longer one.
    assert stop.is_found is bool(ends)
    assert text.startswith(shown)
    assert all(sequence not in shown for sequence in sequences)
    assert shown == text or ends
