"""Sanitising leaves ordinary text alone and takes out what no text needs."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from message_service.safety.sanitise import PieceSanitiser, is_blank, sanitise

ANY_TEXT = st.text(st.characters() | st.characters(categories=["Cs", "Cc"]) | st.sampled_from("\r\n\x00"))

ORDINARY = {
    "comparison": "if a<b and c>d",
    "markup": '<script>alert("1 & 2");</script> <!-- no --> &lt;b&gt; <b>bold</b>',
    "code": "def f(x):\n\treturn {'a': x[0] ** 2} if x else None  # `why`\n",
    "shell": "cat a | grep -v '^#' > b && echo \"$HOME\" 2>&1 \\\n  ; rm -- *",
    "json": '{"path": "C:\\\\Users\\\\ada", "re": "\\\\d+", "n": null}',
    "family": "👨‍👩‍👧‍👦 and 🏳️‍🌈 and 👩🏽‍💻",
    "skin tones": "👍🏻👍🏼👍🏽👍🏾👍🏿",
    "flags": "🇩🇪🇯🇵🏴󠁧󠁢󠁳󠁣󠁴󠁿",
    "keycap and hearts": "1️⃣ ❤️ ❤︎",
    "arabic": "السَّلامُ عَلَيْكُمْ وَرَحْمَةُ اللّٰه",
    "persian with a joiner": "می‌خواهم",
    "hebrew": "שלום עולם, מה שלומך?",
    "hindi": "नमस्ते, क्षत्रिय",
    "thai": "สวัสดีครับ ผมไม่เป็นไร",
    "korean": "안녕하세요",
    "japanese": "がぎぐげご、ハンカク カタカナ",
    "vietnamese": "Tiếng Việt có nhiều dấu",
    "directions": "English \u2067עברית\u2069 and \u200eback\u200f",
    "typography": "“Quotes” – dashes — ellipsis… non\u00a0breaking soft\u00adhyphen 1⁄2 ½ ™",
    "mathematics": "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋ ⇒ x² ≥ 0",
    "spacing": "  indented\n\n\n\tand   spaced  ",
    "private use": "\ue000\U000f0000",
}


@pytest.mark.parametrize("text", ORDINARY.values(), ids=ORDINARY)
def test_text_is_untouched_when_it_is_ordinary(text: str) -> None:
    assert sanitise(text) == text
    assert PieceSanitiser().feed(text) == text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("e\u0301", "é"),
        ("A\u030a", "Å"),
        ("\u1112\u1161\u11ab", "한"),
        ("a\u0323\u0307 a\u0307\u0323", "ạ̇ ạ̇"),
    ],
)
def test_text_is_composed_when_it_came_in_parts(text: str, clean: str) -> None:
    assert sanitise(text) == clean


@pytest.mark.parametrize("text", ["ﬁ", "²", "Ⅳ", "ｆｕｌｌ", "ſ"])
def test_look_alikes_stay_when_only_compatibility_would_fold_them(text: str) -> None:
    assert sanitise(text) == text


@pytest.mark.parametrize(
    "unwanted",
    [*map(chr, range(0x00, 0x09)), "\x0b", "\x0c", "\x0e", "\x1b", "\x1f", *map(chr, range(0x7F, 0xA0))],
    ids=repr,
)
def test_control_character_is_taken_out_wherever_it_stands(unwanted: str) -> None:
    for around in ("ab", "aé", "a😀"):
        assert sanitise(f"{unwanted}{around[0]}{unwanted}{around[1]}{unwanted}") == around


@pytest.mark.parametrize(
    "unwanted",
    [0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xFDD0, 0xFDEF, 0xFFFE, 0xFFFF, 0x1FFFE, 0x1FFFF, 0x10FFFE, 0x10FFFF],
    ids=hex,
)
def test_broken_surrogates_and_noncharacters_are_taken_out(unwanted: int) -> None:
    assert sanitise(f"a{chr(unwanted)}b") == "ab"
    assert PieceSanitiser().feed(f"a{chr(unwanted)}b") == "ab"


def test_both_halves_are_taken_out_when_a_pair_is_written_as_two() -> None:
    assert sanitise("a\ud83d\ude00b") == "ab"


@pytest.mark.parametrize("text", ["a\r\nb", "a\rb", "a\nb"])
def test_line_ends_become_line_feeds(text: str) -> None:
    assert sanitise(text) == "a\nb"
    assert PieceSanitiser().feed(text) == "a\nb"


@given(ANY_TEXT)
def test_result_is_well_formed_whatever_came(text: str) -> None:
    clean = sanitise(text)
    clean.encode()
    assert unicodedata.is_normalized("NFC", clean)
    assert not any(unicodedata.category(one) == "Cc" and one not in "\t\n" for one in clean)
    assert sanitise(clean) == clean


@given(st.lists(ANY_TEXT | st.text("\r\na", max_size=2), max_size=8))
def test_pieces_join_to_the_whole_wherever_it_was_cut(pieces: list[str]) -> None:
    cleaner = PieceSanitiser()
    joined = "".join([cleaner.feed(piece) for piece in pieces])
    assert unicodedata.normalize("NFC", joined) == sanitise("".join(pieces))


@pytest.mark.parametrize("pieces", [["a\r", "\nb"], ["a", "\r", "\n", "b"], ["a\r", "", "\nb"]])
def test_line_ends_once_when_its_two_characters_come_apart(pieces: list[str]) -> None:
    cleaner = PieceSanitiser()
    assert "".join(cleaner.feed(piece) for piece in pieces) == "a\nb"


@pytest.mark.parametrize("pieces", [["a\r", "\n", "\nb"], ["a\r", "\r", "\n", "\n", "b"]])
def test_empty_lines_stay_when_line_ends_come_apart(pieces: list[str]) -> None:
    cleaner = PieceSanitiser()
    assert "".join(cleaner.feed(piece) for piece in pieces) == sanitise("".join(pieces))


@pytest.mark.parametrize(
    "text", ["", " ", "\n\t", "\u00a0\u2003\u3000", "\u200b\u200c\u200d", "\ufeff", "\u2060 \u200e\u200f\u00ad"]
)
def test_text_is_blank_when_there_is_nothing_to_read(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", [".", " a ", "\u200bא", "👍", "0", "\ue000 x"])
def test_text_is_not_blank_when_there_is_something_to_read(text: str) -> None:
    assert not is_blank(text)
