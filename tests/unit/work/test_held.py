"""What a worker holds, and how each reply it writes is told to stop."""

import asyncio
from collections.abc import Sequence

import pytest

from message_service.messages.reply import Attempt
from message_service.work.held import HeldReplies, StopReason
from tests.fixtures.samples import a_reply


class NothingAsked:
    """The progress of a reply before any provider was asked."""

    stage = (0, False)

    def so_far(self) -> Sequence[Attempt]:
        return ()


NOTHING_ASKED = NothingAsked()


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


def test_reply_is_held_when_it_is_being_answered() -> None:
    held, reply = HeldReplies(), a_reply()
    with held.hold(reply, NOTHING_ASKED) as hold:
        assert held.get(reply.id) is hold
        assert list(held) == [hold]
        assert len(held) == 1
    assert held.get(reply.id) is None
    assert len(held) == 0


def test_reply_is_let_go_when_its_answer_breaks() -> None:
    held = HeldReplies()
    with pytest.raises(ZeroDivisionError), held.hold(a_reply(), NOTHING_ASKED):
        raise ZeroDivisionError
    assert list(held) == []


def test_later_claim_stays_when_an_earlier_one_of_the_same_reply_ends() -> None:
    held, reply = HeldReplies(), a_reply(epoch=1)
    with held.hold(reply, NOTHING_ASKED):
        later = held.hold(a_reply(id=reply.id, epoch=2), NOTHING_ASKED)
        second = later.__enter__()
    assert held.get(reply.id) is second
    later.__exit__(None, None, None)
    assert held.get(reply.id) is None


async def test_writing_ends_when_it_is_stopped() -> None:
    with HeldReplies().hold(a_reply(), NOTHING_ASKED) as hold:
        writing = asyncio.create_task(forever())
        hold.write_in(writing)
        hold.stop(StopReason.CANCELLED)
        with pytest.raises(asyncio.CancelledError):
            await writing
        assert hold.stop_reason is StopReason.CANCELLED


async def test_writing_does_not_begin_when_it_was_stopped_before() -> None:
    with HeldReplies().hold(a_reply(), NOTHING_ASKED) as hold:
        hold.stop(StopReason.LOST)
        writing = asyncio.create_task(forever())
        hold.write_in(writing)
        with pytest.raises(asyncio.CancelledError):
            await writing


def test_first_reason_counts_when_there_are_several() -> None:
    with HeldReplies().hold(a_reply(), NOTHING_ASKED) as hold:
        hold.stop(StopReason.LOST)
        hold.stop(StopReason.CANCELLED)
        assert hold.stop_reason is StopReason.LOST


@pytest.mark.parametrize("first", [StopReason.CANCELLED, StopReason.LOST, None])
def test_worker_is_known_to_go_away_when_there_was_another_reason_before(first: StopReason | None) -> None:
    with HeldReplies().hold(a_reply(), NOTHING_ASKED) as hold:
        if first is not None:
            hold.stop(first)
        assert not hold.is_draining
        hold.stop(StopReason.DRAINING)
        assert hold.is_draining
        assert hold.stop_reason is (first or StopReason.DRAINING)


def test_all_can_be_stopped_when_some_leave_meanwhile() -> None:
    held = HeldReplies()
    first, second = held.hold(a_reply(), NOTHING_ASKED), held.hold(a_reply(), NOTHING_ASKED)
    first.__enter__()
    second.__enter__()
    for hold in held:
        hold.stop(StopReason.DRAINING)
        if len(held) == 2:
            second.__exit__(None, None, None)
    assert len(held) == 1
    first.__exit__(None, None, None)
