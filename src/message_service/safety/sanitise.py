"""Makes text well-formed and leaves ordinary text alone: code, `a<b and c>d`, emoji sequences, any script."""

import re
import unicodedata

# C0 and C1 controls but tab and line feed; noncharacters; surrogates without their half. Joiners,
# variation selectors and direction marks stay: emoji and Arabic need them.
_UNWANTED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"
    + "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(1, 17))
    + "]"
)

# Letters and symbols by their class, blank on paper: Hangul fillers, the empty Braille pattern.
_FILLERS = "\u115f\u1160\u2800\u3164\uffa0"


def sanitise(text: str) -> str:
    """`text` in Unicode NFC, line ends as line feeds, without control characters and broken surrogates."""
    if text.isascii():
        if text.isprintable():
            return text
        return _UNWANTED.sub("", _with_line_feeds(text))
    return unicodedata.normalize("NFC", _UNWANTED.sub("", _with_line_feeds(text)))


def is_blank(text: str) -> bool:
    """Whether a reader would see nothing: only spaces, or only characters without a shape."""
    return not any(
        character.isprintable() and not character.isspace() and character not in _FILLERS for character in text
    )


class PieceSanitiser:
    """The same for text that comes in pieces: what is let out is final, so pieces joined are the whole.

    Pieces are not normalised: a later piece could still change the last character of an earlier one.
    """

    def __init__(self) -> None:
        self._ends_in_return = False

    def feed(self, piece: str) -> str:
        """What of `piece` may be shown; may be empty."""
        is_second_half = self._ends_in_return and piece.startswith("\n")
        if piece:
            self._ends_in_return = piece.endswith("\r")
        return _UNWANTED.sub("", _with_line_feeds(piece[1:] if is_second_half else piece))


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
