"""What arrives together goes on as one delta."""

from message_service.messages.reply import FinishReason, Usage
from message_service.providers.provider import Finished, ProviderEvent, Started, TextDelta, UsageReported
from message_service.providers.reply_stream import joined


def test_deltas_are_joined_when_nothing_stands_between_them() -> None:
    events: list[ProviderEvent] = [Started("p", "m"), TextDelta("a"), TextDelta("b"), TextDelta("c")]
    fewer = joined(events)
    assert fewer == [Started("p", "m"), TextDelta("abc")]
    assert [event.tokens for event in fewer if isinstance(event, TextDelta)] == [3]


def test_order_stays_when_something_stands_between_deltas() -> None:
    events: list[ProviderEvent] = [
        TextDelta("a"),
        TextDelta("b"),
        UsageReported(Usage(1, 2)),
        TextDelta("c"),
        Finished(FinishReason.STOP),
    ]
    assert joined(events) == [
        TextDelta("ab"),
        UsageReported(Usage(1, 2)),
        TextDelta("c"),
        Finished(FinishReason.STOP),
    ]


def test_nothing_is_added_when_nothing_came() -> None:
    assert joined([]) == []
