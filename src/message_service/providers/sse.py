"""Server-sent events from bytes: an incremental parser that does no I/O."""

from typing import NamedTuple

MAX_EVENT_BYTES = 1_048_576
"""Longest unfinished line, and most data of one event, that is kept in memory."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class SseEvent(NamedTuple):
    """One dispatched event. `data` is as sent, its lines joined by a line feed."""

    event: str
    data: bytes


class SseEventTooLarge(Exception):
    """A line or an event passed the limit. Adapters turn it into a `StreamCut`."""


class SseParser:
    """Turns bytes, cut anywhere, into events.

    Follows "Interpreting an event stream" of the HTML standard: lines end in CR, LF or CRLF, a line that
    starts with a colon is a comment, and an event whose blank line never came is never dispatched.
    `id` and `retry` are dropped, because nobody reconnects to a provider.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._tail = bytearray()  # the line that has not ended; appending to it copies nothing
        self._is_line_feed_due = False
        self._is_first_line = True
        self._event = ""
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that `chunk` completes. Raises `SseEventTooLarge`."""
        if self._is_line_feed_due and chunk:
            self._is_line_feed_due = False
            chunk = chunk.removeprefix(b"\n")  # the second half of a CRLF that was cut in two
        if not chunk:
            return []
        lines = chunk.splitlines()  # of bytes: at CR, LF and CRLF, and nowhere else
        self._is_line_feed_due = chunk.endswith(b"\r")
        tail = b"" if chunk.endswith((b"\n", b"\r")) else lines.pop()
        if lines and self._tail:
            lines[0] = bytes(self._tail) + lines[0]
            self._tail.clear()
        if tail:
            self._tail += tail
            if len(self._tail) > self._max_event_bytes:
                raise SseEventTooLarge
        return self._dispatch(lines)

    def _dispatch(self, lines: list[bytes]) -> list[SseEvent]:
        events = []
        for line in lines:
            if self._is_first_line:
                self._is_first_line = False
                line = line.removeprefix(_BYTE_ORDER_MARK)
            if line:
                self._take_field(line)
                continue
            if self._data:
                data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                events.append(SseEvent(self._event or "message", data))
                self._data.clear()
                self._data_bytes = 0
            self._event = ""
        return events

    def _take_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data_bytes += len(value) + 1
            if self._data_bytes > self._max_event_bytes:
                raise SseEventTooLarge
            self._data.append(value.removeprefix(b" "))
        elif name == b"event":
            self._event = value.removeprefix(b" ").decode("utf-8", "replace")
