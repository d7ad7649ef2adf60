"""Keeps a model's thinking out of its reply, where the server leaves it in the text as `<think>...</think>`."""

_OPEN = "<think>"
_CLOSE = "</think>"


class ThoughtFilter:
    """Drops one leading thought from a text that comes in pieces, with the white space around it.

    Only a thought that opens the reply is dropped: anywhere else the words may be meant.
    """

    def __init__(self) -> None:
        self._held = ""
        self._is_inside = False
        self._is_past = False

    @property
    def is_thinking(self) -> bool:
        return self._is_inside

    def feed(self, piece: str) -> str:
        """What of the text so far may be shown now and was not yet; perhaps nothing."""
        if self._is_past:
            return piece
        self._held += piece
        if not self._is_inside:
            start = self._held.lstrip()
            if len(start) < len(_OPEN) and _OPEN.startswith(start):
                return ""
            if not start.startswith(_OPEN):
                return self.end()
            self._is_inside = True
        return self._skip()

    def end(self) -> str:
        """What was held back and turned out to be no thought."""
        held = "" if self._is_inside else self._held
        self._held = ""
        self._is_inside = False
        self._is_past = True
        return held

    def _skip(self) -> str:
        _, closing, rest = self._held.partition(_CLOSE)
        if not closing:
            self._held = self._held[-len(_CLOSE) :]  # enough to find a closing tag that is cut in two
            return ""
        self._held = rest.lstrip()
        if not self._held:
            self._held = _CLOSE  # white space may still follow
            return ""
        self._is_inside = False
        return self.end()
