"""What a worker left in its channel, told apart by attempts."""

from message_service.live.event import Began, Counted, LiveEvent, Placed, Position, ProviderSwitched, Reset, Step, Text
from message_service.live.traces import traces
from message_service.messages.reply import Usage

_FIRST, _SECOND = Began("a", "model", 1), Began("b", "model", 1)


def at(take: int, characters: int, step: Step, event: LiveEvent) -> Placed:
    return Placed(Position(take, characters, step), event)


def test_text_is_of_the_attempt_that_wrote_it_when_another_took_over() -> None:
    shown = [
        at(1000, 0, Step.STARTED, _FIRST),
        at(1000, 3, Step.TEXT, Text("one")),
        at(1000, 3, Step.TAKEN_OVER, ProviderSwitched("a", "b", "provider_stream_cut")),
        at(1000, 3, Step.RESUMED, _SECOND),
        at(1000, 7, Step.TEXT, Text(" two")),
        at(1000, 7, Step.USAGE, Counted(Usage(9, 2))),
    ]
    first, second = traces(shown, epoch=1)
    assert (first.began, "".join(first.pieces), first.usage, first.error) == (
        _FIRST,
        "one",
        None,
        "provider_stream_cut",
    )
    assert (second.began, "".join(second.pieces), second.usage, second.error) == (_SECOND, " two", Usage(9, 2), None)


def test_every_claim_has_its_own() -> None:
    shown = [
        at(1000, 0, Step.STARTED, _FIRST),
        at(2000, 0, Step.RESET, Reset("retried")),
        at(2000, 0, Step.STARTED, _SECOND),
        at(2001, 0, Step.RESET, Reset("provider_stream_cut")),
        at(2001, 0, Step.STARTED, _FIRST),
    ]
    assert [[trace.began for trace in traces(shown, epoch=epoch)] for epoch in (1, 2, 3)] == [
        [_FIRST],
        [_SECOND, _FIRST],
        [],
    ]


def test_text_counts_once_when_a_piece_was_sent_again_with_the_next() -> None:
    shown = [
        at(1000, 0, Step.STARTED, _FIRST),
        at(1000, 3, Step.TEXT, Text("one")),
        at(1000, 7, Step.TEXT, Text("one two")),
        at(1001, 0, Step.STARTED, _SECOND),
        at(1001, 5, Step.TEXT, Text("anew!")),
    ]
    assert ["".join(trace.pieces) for trace in traces(shown, epoch=1)] == ["one two", "anew!"]
