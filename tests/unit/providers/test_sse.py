"""The event parser: any cut of the bytes gives the same events."""

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from message_service.providers.sse import MAX_EVENT_BYTES, SseEvent, SseEventTooLarge, SseParser

_TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20)
_LINE_ENDS = st.sampled_from([("\n", "\r\n"), ("\r", "\r\n")])
"""Not all three: a CR and then an LF are one end, not two."""


@st.composite
def _streams(draw: st.DrawFn) -> tuple[bytes, list[SseEvent]]:
    """The bytes of a stream, with every freedom the format gives, and the events it stands for."""
    ends = st.sampled_from(draw(_LINE_ENDS))
    wire = draw(st.sampled_from(["", "\ufeff"]))
    events = []
    for _ in range(draw(st.integers(0, 5))):
        data: list[str] = []
        name = "message"
        for field in draw(st.lists(st.sampled_from(["data", "event", "id", "comment", "bare"]), max_size=4)):
            value = draw(_TEXT)
            if field == "comment":
                wire += f":{value}"
            elif field == "bare":
                wire += "data"
                data.append("")
            else:
                space = " " if value.startswith(" ") else draw(st.sampled_from(["", " "]))
                wire += f"{field}:{space}{value}"
                if field == "data":
                    data.append(value)
                elif field == "event":
                    name = value or "message"
            wire += draw(ends)
        wire += draw(ends)
        if data:
            events.append(SseEvent(name, "\n".join(data).encode()))
    return wire.encode(), events


def _parse(pieces: list[bytes]) -> list[SseEvent]:
    parser = SseParser()
    return [event for piece in pieces for event in parser.feed(piece)]


@settings(deadline=None)
@given(_streams(), st.lists(st.integers(0, 1000), max_size=12))
def test_events_are_the_same_when_the_bytes_are_cut_anywhere(
    stream: tuple[bytes, list[SseEvent]], cuts: list[int]
) -> None:
    wire, events = stream
    edges = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
    pieces = [wire[start:end] for start, end in itertools.pairwise(edges)]
    assert _parse(pieces) == events
    assert _parse([bytes([byte]) for byte in wire]) == events


def test_nothing_is_dispatched_when_the_blank_line_never_came() -> None:
    assert _parse([b"data: whole\n\ndata: half\n"]) == [SseEvent("message", b"whole")]


def test_comments_are_skipped_when_they_come_inside_an_event() -> None:
    assert _parse([b": ping\n\ndata: a\n:ping\ndata: b\n\n: ping\n\n"]) == [SseEvent("message", b"a\nb")]


def test_event_name_is_forgotten_when_its_event_had_no_data() -> None:
    assert _parse([b"event: error\n\ndata: a\n\n"]) == [SseEvent("message", b"a")]


@pytest.mark.parametrize("wire", [b"data: " + b"x" * 200, b"data: " + b"x" * 60 + b"\ndata: " + b"x" * 60 + b"\n"])
def test_memory_is_bounded_when_a_line_or_an_event_never_ends(wire: bytes) -> None:
    parser = SseParser(max_event_bytes=100)
    for position in range(100):
        parser.feed(wire[position : position + 1])
    with pytest.raises(SseEventTooLarge):
        parser.feed(wire[100:])


def test_cpu_time_is_linear_when_a_long_line_comes_in_small_pieces() -> None:
    def cpu_seconds(total_bytes: int) -> float:
        parser = SseParser()
        pieces = [b"data: ", *([b"x" * 16] * (total_bytes // 16)), b"\n\n"]
        started = time.process_time()
        events = [event for piece in pieces for event in parser.feed(piece)]
        assert [len(event.data) for event in events] == [total_bytes]
        return time.process_time() - started

    small, large = MAX_EVENT_BYTES // 16, MAX_EVENT_BYTES - 16
    # 16 times the bytes; a copy of the line at each piece would cost 256 times the time.
    assert cpu_seconds(large) < 80 * max(cpu_seconds(small) for _ in range(3))
