"""A reply's text as it comes in pieces: whole characters, no leading thought, nothing after a stop sequence."""

from collections.abc import Sequence

from message_service.providers.thoughts import ThoughtFilter


class TextPieces:
    """Joins what servers cut apart. `stop` is for APIs that take no stop sequences: the text ends before the first."""

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._high_surrogate = ""
        self._thoughts = ThoughtFilter()
        self._stop = StopSequences(stop) if stop else None

    @property
    def is_thinking(self) -> bool:
        return self._thoughts.is_thinking

    @property
    def is_stopped(self) -> bool:
        """Whether a stop sequence was written: nothing more belongs to the text."""
        return self._stop is not None and self._stop.is_found

    def feed(self, piece: str, *, is_last: bool = False) -> str:
        """What of the text so far may be shown now and was not yet; perhaps nothing."""
        if piece or self._high_surrogate:
            piece = self._thoughts.feed(self._whole_characters(piece, is_last))
        if is_last:
            piece += self._thoughts.end()
        if self._stop is not None:
            piece = self._stop.feed(piece)
            if is_last:
                piece += self._stop.end()
        return piece

    def _whole_characters(self, text: str, is_last: bool) -> str:
        """`text` with its surrogate pairs joined, across pieces too; a half that stays alone becomes U+FFFD."""
        text = self._high_surrogate + text
        self._high_surrogate = ""
        if text.isascii():
            return text
        if not is_last and "\ud800" <= text[-1] <= "\udbff":
            self._high_surrogate = text[-1]
            text = text[:-1]
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class StopSequences:
    """Ends a text before the first of some sequences, wherever its pieces are cut."""

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = tuple(sequences)
        self._held = ""
        self.is_found = False

    def feed(self, piece: str) -> str:
        """What is certain not to begin a stop sequence."""
        if self.is_found:
            return ""
        text = self._held + piece
        self._held = ""
        places = [at for sequence in self._sequences if (at := text.find(sequence)) >= 0]
        if places:
            self.is_found = True
            return text[: min(places)]
        held = max(_overlap(text, sequence) for sequence in self._sequences)
        if held:
            self._held = text[-held:]
            return text[:-held]
        return text

    def end(self) -> str:
        """What was held back and began no stop sequence after all."""
        held = "" if self.is_found else self._held
        self._held = ""
        return held


def _overlap(text: str, sequence: str) -> int:
    """Length of the longest end of `text` that `sequence` begins with."""
    longest = min(len(text), len(sequence) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(sequence[:size])), 0)
