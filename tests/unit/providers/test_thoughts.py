"""The filter for thoughts that a server leaves in the text."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from message_service.providers.thoughts import ThoughtFilter


def _shown(pieces: list[str]) -> str:
    thoughts = ThoughtFilter()
    return "".join([thoughts.feed(piece) for piece in pieces]) + thoughts.end()


def _cut(text: str, cuts: list[int]) -> list[str]:
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(edges)]


_CUTS = st.lists(st.integers(0, 100), max_size=8)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<think>Let me see.</think>\n\nHello <b>you</b>", "Hello <b>you</b>"),
        ("\n<think>a < b</thinker></think> Hi", "Hi"),
        ("<think>never ends", ""),
        ("<think></think>", ""),
        ("<think>a</think>b<think>c</think>", "b<think>c</think>"),
        ("Well, <think>that</think> is markup", "Well, <think>that</think> is markup"),
        ("<thin ice>", "<thin ice>"),
        ("  <thi", "  <thi"),
        ("  indented", "  indented"),
        ("", ""),
    ],
)
@given(cuts=_CUTS)
def test_only_an_opening_thought_is_dropped_when_the_text_is_cut_anywhere(
    text: str, shown: str, cuts: list[int]
) -> None:
    assert _shown(_cut(text, cuts)) == shown


@given(st.text(alphabet="<think>/ ab", max_size=40).filter(lambda text: not text.lstrip().startswith("<think>")), _CUTS)
def test_text_is_unchanged_when_it_does_not_open_with_a_thought(text: str, cuts: list[int]) -> None:
    assert _shown(_cut(text, cuts)) == text
