"""A conversation and its unfinished replies: when they agree, and who has the turn when they do not."""

import pytest

from message_service.ids import MessageId, ReplyId
from message_service.messages.conversation import Conversation
from message_service.messages.line import Disagreement, Place, correction_of
from tests.fixtures.samples import CONVERSATION, KEY, USER


def _place(turn: int, *, is_running: bool = False, is_next: bool = False) -> Place:
    return Place(reply_id=ReplyId(f"msg_{turn}"), turn=turn, is_running=is_running, is_next=is_next)


def _conversation(active: int | None, *, waiting: int, reserved: int) -> Conversation:
    return Conversation(
        key=KEY,
        user_id=USER,
        conversation_id=CONVERSATION,
        last_seq=7,
        asked_replies=9,
        head=MessageId("msg_head"),
        active_reply=None if active is None else ReplyId(f"msg_{active}"),
        waiting_replies=waiting,
        reserved=reserved,
    )


AGREEING = [
    (_conversation(None, waiting=0, reserved=0), []),
    (_conversation(3, waiting=0, reserved=1), [_place(3, is_next=True)]),
    (_conversation(3, waiting=1, reserved=2), [_place(3, is_running=True, is_next=True), _place(4)]),
    (_conversation(3, waiting=2, reserved=3), [_place(5), _place(3, is_next=True), _place(4)]),
]


@pytest.mark.parametrize(("conversation", "line"), AGREEING)
def test_nothing_is_corrected_when_all_agree(conversation: Conversation, line: list[Place]) -> None:
    assert correction_of(conversation, line) is None


def test_oldest_gets_the_turn_when_nobody_has_it() -> None:
    correction = correction_of(_conversation(3, waiting=1, reserved=2), [_place(4), _place(3)])
    assert correction is not None
    assert correction.disagreements == (Disagreement.LOST_TURN,)
    assert correction.next_reply == "msg_3"


def test_running_reply_keeps_the_turn_when_an_older_one_has_it_too() -> None:
    line = [_place(3, is_next=True), _place(4, is_next=True, is_running=True)]
    correction = correction_of(_conversation(3, waiting=1, reserved=2), line)
    assert correction is not None
    assert correction.disagreements == (Disagreement.EXTRA_TURN, Disagreement.ACTIVE_REPLY)
    assert correction.next_reply == "msg_4"
    assert correction_of(correction.conversation, [_place(3), line[1]]) is None


def test_only_what_counts_replies_is_changed_when_corrected() -> None:
    wrong = _conversation(2, waiting=5, reserved=0)
    correction = correction_of(wrong, [])
    assert correction is not None
    assert set(correction.disagreements) == {Disagreement.ACTIVE_REPLY, Disagreement.WAITING_REPLIES}
    assert correction.conversation == _conversation(None, waiting=0, reserved=0)
