"""A conversation counts its messages, keeps places for replies on their way, and lets replies take turns."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from message_service.errors import ConversationFull
from message_service.ids import MessageId, ReplyId, new_message_id, new_reply_id
from message_service.messages.conversation import MAX_MESSAGES, Conversation
from tests.fixtures.samples import CONVERSATION, KEY, USER

FIRST, SECOND, THIRD = ReplyId("msg_first"), ReplyId("msg_second"), ReplyId("msg_third")
QUESTION = MessageId("msg_question")


def conversation(**changes: Any) -> Conversation:
    return replace(Conversation(key=KEY, user_id=USER, conversation_id=CONVERSATION), **changes)


def test_limit_is_what_is_promised() -> None:
    assert MAX_MESSAGES == 10_000


def test_seq_rises_by_one_when_messages_follow_one_another() -> None:
    now = conversation()
    for expected in range(1, 6):
        now = now.with_message(new_message_id())
        assert now.last_seq == expected


def test_next_message_follows_the_newest_when_one_is_added() -> None:
    assert conversation().with_message(QUESTION).head == QUESTION


def test_last_place_is_given_when_9999_are_stored() -> None:
    full = conversation(last_seq=9_999).with_message(QUESTION)
    assert full.last_seq == 10_000
    with pytest.raises(ConversationFull, match="10,000"):
        full.with_message(new_message_id())


def test_message_is_refused_when_the_last_place_is_kept_for_a_reply() -> None:
    with pytest.raises(ConversationFull):
        conversation(last_seq=9_999, reserved=1).with_message(QUESTION)


def test_reply_is_refused_when_its_message_took_the_last_place() -> None:
    with pytest.raises(ConversationFull):
        conversation(last_seq=9_999).with_message(QUESTION).with_reply(FIRST)


def test_message_and_reply_fit_when_two_places_are_left() -> None:
    asked = conversation(last_seq=9_998).with_message(QUESTION).with_reply(FIRST)
    answered = asked.without_reply(FIRST, has_text=True, fallback_head=QUESTION, next_reply=None)
    assert (answered.last_seq, answered.reserved) == (10_000, 0)


def test_kept_place_is_free_again_when_a_reply_ends_without_text() -> None:
    asked = conversation(last_seq=9_998).with_message(QUESTION).with_reply(FIRST)
    ended = asked.without_reply(FIRST, has_text=False, fallback_head=QUESTION, next_reply=None)
    assert ended.with_message(new_message_id()).last_seq == 10_000


def test_reply_is_the_head_when_it_was_asked_for() -> None:
    assert conversation().with_message(QUESTION).with_reply(FIRST).head == MessageId(FIRST)


def test_head_stays_the_reply_when_it_ends_with_text() -> None:
    asked = conversation().with_message(QUESTION).with_reply(FIRST)
    assert asked.without_reply(FIRST, has_text=True, fallback_head=QUESTION, next_reply=None).head == MessageId(FIRST)


def test_head_falls_back_when_the_reply_ends_without_text() -> None:
    asked = conversation().with_message(QUESTION).with_reply(FIRST)
    assert asked.without_reply(FIRST, has_text=False, fallback_head=QUESTION, next_reply=None).head == QUESTION


@pytest.mark.parametrize("has_text", [True, False])
def test_head_stays_when_the_user_went_on_before_the_reply_ended(has_text: bool) -> None:
    later = new_message_id()
    asked = conversation().with_message(QUESTION).with_reply(FIRST).with_message(later)
    assert asked.without_reply(FIRST, has_text=has_text, fallback_head=QUESTION, next_reply=None).head == later


def test_turns_are_taken_in_order_when_several_replies_wait() -> None:
    now = conversation().with_reply(FIRST).with_reply(SECOND).with_reply(THIRD)
    assert (now.active_reply, now.waiting_replies, now.replies_ahead, now.asked_replies) == (FIRST, 2, 3, 3)
    now = now.without_reply(FIRST, has_text=True, fallback_head=QUESTION, next_reply=SECOND)
    assert (now.active_reply, now.waiting_replies, now.replies_ahead) == (SECOND, 1, 2)
    now = now.without_reply(SECOND, has_text=True, fallback_head=QUESTION, next_reply=THIRD)
    now = now.without_reply(THIRD, has_text=True, fallback_head=QUESTION, next_reply=None)
    assert (now.active_reply, now.waiting_replies, now.replies_ahead) == (None, 0, 0)
    assert now.asked_replies == 3


def test_turn_stays_when_a_waiting_reply_ends() -> None:
    now = conversation().with_reply(FIRST).with_reply(SECOND)
    now = now.without_reply(SECOND, has_text=False, fallback_head=QUESTION, next_reply=None)
    assert (now.active_reply, now.waiting_replies) == (FIRST, 0)


class AnyHistory(RuleBasedStateMachine):
    """Posts, questions and ends in any order; what is compared with is a plain list of the replies in line."""

    @initialize(stored=st.one_of(st.just(0), st.integers(9_985, 10_000)))
    def begin(self, stored: int) -> None:
        self.now = conversation(last_seq=stored)
        self.messages = stored
        self.line: list[ReplyId] = []
        self.asked = 0

    def _has_room(self) -> bool:
        return self.messages + len(self.line) < MAX_MESSAGES

    @rule()
    def post(self) -> None:
        if not self._has_room():
            with pytest.raises(ConversationFull):
                self.now.with_message(new_message_id())
            return
        message_id = new_message_id()
        self.now = self.now.with_message(message_id)
        self.messages += 1
        assert self.now.head == message_id

    @rule()
    def ask(self) -> None:
        if not self._has_room():
            with pytest.raises(ConversationFull):
                self.now.with_reply(new_reply_id())
            return
        reply_id = new_reply_id()
        self.now = self.now.with_reply(reply_id)
        self.line.append(reply_id)
        self.asked += 1
        assert self.now.head == MessageId(reply_id)

    @precondition(lambda self: self.line)
    @rule(which=st.integers(0, 30), has_text=st.booleans())
    def end(self, which: int, has_text: bool) -> None:
        assume(which < len(self.line))
        reply_id = self.line.pop(which)
        was_head = self.now.head == MessageId(reply_id)
        next_reply = self.line[0] if which == 0 and self.line else None
        self.now = self.now.without_reply(reply_id, has_text=has_text, fallback_head=QUESTION, next_reply=next_reply)
        self.messages += has_text
        if was_head:
            assert self.now.head == (MessageId(reply_id) if has_text else QUESTION)

    @invariant()
    def never_more_than_the_limit(self) -> None:
        assert self.now.last_seq + self.now.reserved <= MAX_MESSAGES

    @invariant()
    def counts_are_those_of_the_line(self) -> None:
        assert self.now.last_seq == self.messages
        assert self.now.reserved == self.now.replies_ahead == len(self.line)
        assert self.now.waiting_replies == max(0, len(self.line) - 1)
        assert self.now.active_reply == (self.line[0] if self.line else None)
        assert self.now.asked_replies == self.asked


AnyHistory.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestAnyHistory = AnyHistory.TestCase
