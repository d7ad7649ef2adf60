"""The moves of a reply: one table, every state within reach, five of them final."""

import pytest

from message_service.messages.reply import MOVES, TERMINAL, ReplyStatus, may_move
from tests.fixtures.samples import a_reply


def reachable(start: ReplyStatus) -> set[ReplyStatus]:
    found, wanted = set[ReplyStatus](), [start]
    while wanted:
        for status in MOVES[wanted.pop()] - found:
            found.add(status)
            wanted.append(status)
    return found


def test_table_has_every_state() -> None:
    assert set(MOVES) == set(ReplyStatus)


def test_exactly_five_states_are_terminal() -> None:
    assert {status.value for status in TERMINAL} == {"completed", "incomplete", "blocked", "cancelled", "failed"}


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_nothing_follows_when_a_state_is_terminal(status: ReplyStatus) -> None:
    assert not any(may_move(status, end) for end in ReplyStatus)
    assert a_reply(status=status).is_terminal


@pytest.mark.parametrize("status", sorted(set(ReplyStatus) - TERMINAL))
def test_every_end_is_within_reach_when_a_state_is_not_terminal(status: ReplyStatus) -> None:
    assert reachable(status) >= TERMINAL
    assert not a_reply(status=status).is_terminal


def test_every_state_is_reachable_when_a_reply_is_queued() -> None:
    assert reachable(ReplyStatus.QUEUED) == set(ReplyStatus)


def test_no_text_can_come_when_a_queued_reply_ends_at_once() -> None:
    ends = MOVES[ReplyStatus.QUEUED] & TERMINAL
    assert ends == {ReplyStatus.CANCELLED, ReplyStatus.FAILED}


def test_another_worker_may_take_over_when_a_lease_ran_out() -> None:
    assert may_move(ReplyStatus.RUNNING, ReplyStatus.RUNNING)
    assert may_move(ReplyStatus.RUNNING, ReplyStatus.QUEUED)
    assert not may_move(ReplyStatus.QUEUED, ReplyStatus.QUEUED)
