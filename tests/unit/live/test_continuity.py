"""Whatever of a stream gets lost on its way to a watcher: what it is shown joins to the stored text."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from message_service.live.continuity import Continuity, end_of, remainder
from message_service.live.event import (
    QUEUED,
    START,
    Began,
    Counted,
    Placed,
    Position,
    ProviderSwitched,
    Reset,
    Step,
    Text,
)
from message_service.messages.reply import Reply, ReplyStatus, Usage, first_take
from tests.fixtures.samples import a_reply

USAGE = Usage(7, 3)


@dataclass(frozen=True)
class Take:
    """One beginning of the text, and its events as a worker appends them."""

    number: int
    pieces: Sequence[str]
    is_first: bool
    has_usage: bool

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def events(self) -> list[Placed]:
        events = [] if self.is_first else [Placed(Position(self.number, 0, Step.RESET), Reset("retried"))]
        events.append(Placed(Position(self.number, 0, Step.SWITCHED), ProviderSwitched("a", "b", "overloaded")))
        events.append(Placed(Position(self.number, 0, Step.STARTED), Began("b", "model", 1)))
        characters = 0
        for piece in self.pieces:
            characters += len(piece)
            events.append(Placed(Position(self.number, characters, Step.TEXT), Text(piece)))
        if self.has_usage:
            events.append(Placed(Position(self.number, characters, Step.USAGE), Counted(USAGE)))
        return events


@st.composite
def histories(draw: st.DrawFn) -> list[Take]:
    epochs = sorted(draw(st.sets(st.integers(1, 6), min_size=1, max_size=3)))
    pieces = st.lists(st.text("abcé😀", min_size=1, max_size=4), max_size=6)
    return [Take(first_take(epoch), draw(pieces), epoch == 1, draw(st.booleans())) for epoch in epochs]


class Watcher:
    """A client that joins what it is shown, and comes back with the position of the last thing it saw."""

    def __init__(self, takes: Sequence[Take]) -> None:
        self._texts = {take.number: take.text for take in takes}
        self.text = ""
        self.seen = START

    def connect(self, events: Sequence[Placed]) -> None:
        continuity = Continuity(self.seen)
        for event in events:
            for shown in continuity.admit(event):
                self.show(shown)
                assert self.text == self._texts[self.seen.take][: self.seen.characters]

    def show(self, placed: Placed) -> None:
        assert placed.position > self.seen, "ids only rise"
        self.seen = placed.position
        if isinstance(placed.event, Reset):
            self.text = ""
        elif isinstance(placed.event, Text):
            self.text += placed.event.text


def ended(takes: Sequence[Take]) -> Reply:
    last = takes[-1]
    return a_reply(
        status=ReplyStatus.COMPLETED,
        take=last.number,
        provider="b",
        model="model",
        usage=USAGE if last.has_usage else None,
    )


@given(histories(), st.data())
def test_deltas_join_to_the_stored_text_when_events_are_lost_repeated_and_out_of_order(
    takes: list[Take], data: st.DataObject
) -> None:
    events = [event for take in takes for event in take.events()]
    watcher = Watcher(takes)
    connections = data.draw(st.lists(st.lists(st.sampled_from(events), max_size=20), max_size=3))
    for arrived in connections:
        watcher.connect(arrived)
    for placed in remainder(ended(takes), takes[-1].text, watcher.seen):
        watcher.show(placed)
    assert watcher.text == takes[-1].text


@given(histories(), st.data())
def test_deltas_join_to_the_stored_text_when_stretches_of_the_stream_are_missing(
    takes: list[Take], data: st.DataObject
) -> None:
    events = [event for take in takes for event in take.events()]
    watcher = Watcher(takes)
    for _ in range(data.draw(st.integers(1, 3))):
        is_kept = data.draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events)))
        watcher.connect([event for event, kept in zip(events, is_kept, strict=True) if kept])
    for placed in remainder(ended(takes), takes[-1].text, watcher.seen):
        watcher.show(placed)
    assert watcher.text == takes[-1].text


@given(histories(), st.integers(0, 40))
def test_nothing_is_missing_or_twice_when_a_watcher_is_cut_anywhere_and_resumes(takes: list[Take], cut: int) -> None:
    events = [event for take in takes for event in take.events()]
    watcher = Watcher(takes)
    watcher.connect(events[:cut])
    watcher.connect(events)
    assert watcher.text == takes[-1].text
    assert remainder(ended(takes), takes[-1].text, watcher.seen) == []


@given(histories())
def test_everything_is_shown_as_it_was_written_when_nothing_is_lost(takes: list[Take]) -> None:
    continuity = Continuity(START)
    events = [event for take in takes for event in take.events()]
    assert [shown for event in events for shown in continuity.admit(event)] == events


def test_rest_of_a_piece_is_shown_when_its_beginning_was_seen() -> None:
    continuity = Continuity(Position(1000, 3, Step.TEXT))
    (shown,) = continuity.admit(Placed(Position(1000, 6, Step.TEXT), Text("abcdef")))
    assert shown == Placed(Position(1000, 6, Step.TEXT), Text("def"))


def test_nothing_more_is_shown_when_a_piece_is_missing() -> None:
    continuity = Continuity(Position(1000, 3, Step.TEXT))
    assert continuity.admit(Placed(Position(1000, 9, Step.TEXT), Text("ghi"))) == []
    assert continuity.admit(Placed(Position(1000, 12, Step.TEXT), Text("jkl"))) == []
    assert continuity.seen == Position(1000, 3, Step.TEXT)


def test_counts_are_not_shown_when_the_text_before_them_is_missing() -> None:
    continuity = Continuity(Position(1000, 3, Step.TEXT))
    assert continuity.admit(Placed(Position(1000, 9, Step.USAGE), Counted(USAGE))) == []
    assert continuity.seen == Position(1000, 3, Step.TEXT)


def test_text_is_shown_again_when_it_begins_anew_after_a_gap() -> None:
    continuity = Continuity(Position(1000, 3, Step.TEXT))
    continuity.admit(Placed(Position(1000, 9, Step.TEXT), Text("ghi")))
    anew = Placed(Position(2000, 0, Step.RESET), Reset("retried"))
    assert continuity.admit(anew) == [anew]
    text = Placed(Position(2000, 2, Step.TEXT), Text("ok"))
    assert continuity.admit(text) == [text]


def test_watcher_is_told_to_forget_when_the_reset_itself_was_lost() -> None:
    continuity = Continuity(Position(1000, 3, Step.TEXT))
    began = Placed(Position(2000, 0, Step.STARTED), Began("a", "model", 2))
    assert continuity.admit(began) == [Placed(Position(2000, 0, Step.RESET), Reset("retried")), began]


def test_nobody_is_told_to_forget_when_nothing_was_seen() -> None:
    continuity = Continuity(QUEUED)
    began = Placed(Position(2000, 0, Step.STARTED), Began("a", "model", 2))
    assert continuity.admit(began) == [began]


@pytest.mark.parametrize("event", [Text("late"), Counted(USAGE)])
def test_take_is_not_shown_when_the_watcher_comes_into_its_middle(event: Text | Counted) -> None:
    continuity = Continuity(START)
    step = Step.TEXT if isinstance(event, Text) else Step.USAGE
    assert continuity.admit(Placed(Position(1000, 40, step), event)) == []
    assert continuity.seen == START


def test_nothing_remains_when_the_end_was_seen() -> None:
    reply = a_reply(take=1000, provider="a", model="model", usage=USAGE)
    assert remainder(reply, "text", end_of(reply, "text")) == []


def test_whole_reply_remains_when_nothing_was_seen() -> None:
    reply = a_reply(take=1000, provider="a", model="model", attempts=2, usage=USAGE)
    assert remainder(reply, "text", START) == [
        Placed(Position(1000, 0, Step.STARTED), Began("a", "model", 2)),
        Placed(Position(1000, 4, Step.TEXT), Text("text")),
        Placed(Position(1000, 4, Step.USAGE), Counted(USAGE)),
    ]


def test_end_is_the_last_position_when_there_is_no_text() -> None:
    assert end_of(a_reply(take=1000), "") == Position(1000, 0, Step.END)
