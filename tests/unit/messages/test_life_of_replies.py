"""Any order of asking, claiming, losing, handing back, ending and cancelling keeps a conversation in order.

The rules are the service's own (`Conversation`, `MOVES`); this machine does around them what the store does.
`HYPOTHESIS_PROFILE=thorough` tries a hundred times as many lives.
"""

from dataclasses import dataclass, field, replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from message_service.errors import ConversationFull
from message_service.ids import MessageId, ReplyId
from message_service.messages.conversation import MAX_MESSAGES, Conversation
from message_service.messages.reply import TERMINAL, Reply, ReplyStatus, WorkKind, first_take, may_move
from tests.fixtures.samples import CONVERSATION, KEY, USER, a_reply

_MOST_ATTEMPTS = 5
_WITH_TEXT = (ReplyStatus.COMPLETED, ReplyStatus.INCOMPLETE, ReplyStatus.CANCELLED)
_WITHOUT_TEXT = (ReplyStatus.FAILED, ReplyStatus.BLOCKED, ReplyStatus.CANCELLED)


@dataclass(slots=True)
class Kept:
    """A reply as the store keeps it."""

    reply: Reply
    turn: int
    is_next: bool
    fallback_head: MessageId
    is_lease_over: bool = False
    ends: list[ReplyStatus] = field(default_factory=list)

    def move(self, status: ReplyStatus, **changes: object) -> None:
        assert may_move(self.reply.status, status), f"{self.reply.status} to {status}"
        self.reply = replace(self.reply, status=status, **changes)  # type: ignore[arg-type]  # checked by the class


class LifeOfReplies(RuleBasedStateMachine):
    """One conversation, and workers that may hold any claim they ever had."""

    def __init__(self) -> None:
        super().__init__()
        self.conversation = Conversation(key=KEY, user_id=USER, conversation_id=CONVERSATION)
        self.places: list[tuple[MessageId, ReplyId | None]] = []
        """The messages by seq; of an answer also its reply."""
        self.before = 0
        """Messages that were there at the beginning."""
        self.kept: dict[ReplyId, Kept] = {}
        self.claims: list[Reply] = []
        self.count = 0

    @initialize(room=st.one_of(st.none(), st.integers(0, 6)))
    def begin(self, room: int | None) -> None:
        """An empty conversation, or one with little room left."""
        self.before = 0 if room is None else MAX_MESSAGES - room
        self.conversation = replace(self.conversation, last_seq=self.before)

    @rule(with_reply=st.booleans())
    def post(self, with_reply: bool) -> None:
        self.count += 1
        message = MessageId(f"message{self.count}")
        try:
            after = self.conversation.with_message(message)
            if with_reply:
                after = after.with_reply(ReplyId(f"reply{self.count}"))
        except ConversationFull:
            wanted = 2 if with_reply else 1
            assert self.conversation.last_seq + self.conversation.reserved + wanted > MAX_MESSAGES
            return
        self.conversation = after
        self.places.append((message, None))
        if with_reply:
            self._keep(ReplyId(f"reply{self.count}"), message, WorkKind.REPLY, fallback_head=message)

    @precondition(lambda self: self.kept)
    @rule(choice=st.integers(0, 1000))
    def ask_again(self, choice: int) -> None:
        answered = self._one(choice).reply.message_id
        self.count += 1
        reply_id = ReplyId(f"reply{self.count}")
        head = self.conversation.head or answered
        try:
            self.conversation = self.conversation.with_reply(reply_id)
        except ConversationFull:
            assert self.conversation.last_seq + self.conversation.reserved == MAX_MESSAGES
            return
        self._keep(reply_id, answered, WorkKind.VARIANT, fallback_head=head)

    @precondition(lambda self: self.kept)
    @rule(choice=st.integers(0, 1000))
    def claim(self, choice: int) -> None:
        kept = self._one(choice)
        is_to_be_had = (kept.reply.status is ReplyStatus.QUEUED and kept.is_next) or (
            kept.reply.status is ReplyStatus.RUNNING and kept.is_lease_over
        )
        if is_to_be_had:
            kept.move(ReplyStatus.RUNNING, epoch=kept.reply.epoch + 1, attempts=kept.reply.attempts + 1)
            kept.is_lease_over = False
            self.claims.append(kept.reply)

    @precondition(lambda self: self.claims)
    @rule(choice=st.integers(0, 1000))
    def lease_runs_out(self, choice: int) -> None:
        kept = self._held(choice)[1]
        kept.is_lease_over = kept.reply.status is ReplyStatus.RUNNING

    @precondition(lambda self: self.claims)
    @rule(choice=st.integers(0, 1000))
    def renew(self, choice: int) -> None:
        claimed, kept = self._held(choice)
        if self._is_fenced_in(claimed, kept):
            kept.is_lease_over = False

    @precondition(lambda self: self.claims)
    @rule(choice=st.integers(0, 1000), is_attempt_counted=st.booleans())
    def hand_back(self, choice: int, is_attempt_counted: bool) -> None:
        claimed, kept = self._held(choice)
        if self._is_fenced_in(claimed, kept):
            kept.move(ReplyStatus.QUEUED, attempts=kept.reply.attempts - (0 if is_attempt_counted else 1))

    @precondition(lambda self: self.claims)
    @rule(choice=st.integers(0, 1000), has_text=st.booleans(), end=st.integers(0, 2))
    def finish(self, choice: int, has_text: bool, end: int) -> None:
        """By whoever has ever claimed it, long after it was taken away as well."""
        claimed, kept = self._held(choice)
        if not self._is_fenced_in(claimed, kept):
            return
        if claimed.attempts > _MOST_ATTEMPTS:
            self._end(kept, ReplyStatus.FAILED, has_text=False, take=first_take(claimed.epoch))
        else:
            status = (_WITH_TEXT if has_text else _WITHOUT_TEXT)[end]
            self._end(kept, status, has_text=has_text, take=first_take(claimed.epoch))

    @precondition(lambda self: self.kept)
    @rule(choice=st.integers(0, 1000))
    def cancel(self, choice: int) -> None:
        kept = self._one(choice)
        if kept.reply.status is ReplyStatus.QUEUED:
            self._end(kept, ReplyStatus.CANCELLED, has_text=False, take=first_take(kept.reply.epoch + 1))

    @invariant()
    def places_are_dense(self) -> None:
        assert self.conversation.last_seq == self.before + len(self.places)

    @invariant()
    def there_is_room_for_all_that_was_promised(self) -> None:
        unfinished = [kept for kept in self.kept.values() if not kept.reply.is_terminal]
        assert self.conversation.reserved == len(unfinished)
        assert self.conversation.last_seq + self.conversation.reserved <= MAX_MESSAGES

    @invariant()
    def one_reply_runs_at_a_time(self) -> None:
        running = [kept for kept in self.kept.values() if kept.reply.status is ReplyStatus.RUNNING]
        assert len(running) <= 1
        assert all(kept.is_next for kept in running)

    @invariant()
    def the_oldest_unfinished_reply_has_its_turn(self) -> None:
        unfinished = sorted(
            (kept for kept in self.kept.values() if not kept.reply.is_terminal), key=lambda kept: kept.turn
        )
        assert [kept.is_next for kept in unfinished] == [True] + [False] * (len(unfinished) - 1) or not unfinished
        assert self.conversation.active_reply == (unfinished[0].reply.id if unfinished else None)
        assert self.conversation.waiting_replies == max(0, len(unfinished) - 1)
        assert self.conversation.replies_ahead == len(unfinished)

    @invariant()
    def every_reply_ends_once(self) -> None:
        for kept in self.kept.values():
            assert kept.ends == ([kept.reply.status] if kept.reply.status in TERMINAL else [])

    @invariant()
    def answers_come_in_turn_and_after_their_question(self) -> None:
        seqs = {message: seq for seq, (message, _) in enumerate(self.places)}
        turns = [self.kept[reply].turn for _, reply in self.places if reply is not None]
        assert turns == sorted(set(turns))
        for seq, (_, reply) in enumerate(self.places):
            assert reply is None or seqs[self.kept[reply].reply.message_id] < seq

    @invariant()
    def head_is_a_message_or_a_reply_that_will_be_one(self) -> None:
        written = {message for message, _ in self.places}
        promised = {MessageId(kept.reply.id) for kept in self.kept.values() if not kept.reply.is_terminal}
        assert self.conversation.head is None or self.conversation.head in written | promised

    def _keep(self, reply_id: ReplyId, message_id: MessageId, kind: WorkKind, *, fallback_head: MessageId) -> None:
        self.kept[reply_id] = Kept(
            a_reply(id=reply_id, message_id=message_id, kind=kind),
            turn=self.conversation.asked_replies,
            is_next=self.conversation.active_reply == reply_id,
            fallback_head=fallback_head,
        )

    def _end(self, kept: Kept, status: ReplyStatus, *, has_text: bool, take: int) -> None:
        reply_id = kept.reply.id
        kept.move(status, take=take)
        kept.ends.append(status)
        kept.is_next = False
        next_one = None
        if self.conversation.active_reply == reply_id:
            queued = [other for other in self.kept.values() if other.reply.status is ReplyStatus.QUEUED]
            next_one = min(queued, key=lambda other: other.turn, default=None)
        if next_one is not None:
            next_one.is_next = True
        self.conversation = self.conversation.without_reply(
            reply_id,
            has_text=has_text,
            fallback_head=kept.fallback_head,
            next_reply=next_one.reply.id if next_one is not None else None,
        )
        if has_text:
            self.places.append((MessageId(reply_id), reply_id))
        else:
            for other in self.kept.values():
                if other.fallback_head == MessageId(reply_id) and not other.reply.is_terminal:
                    other.fallback_head = kept.fallback_head

    def _one(self, choice: int) -> Kept:
        return list(self.kept.values())[choice % len(self.kept)]

    def _held(self, choice: int) -> tuple[Reply, Kept]:
        claimed = self.claims[choice % len(self.claims)]
        return claimed, self.kept[claimed.id]

    @staticmethod
    def _is_fenced_in(claimed: Reply, kept: Kept) -> bool:
        return kept.reply.status is ReplyStatus.RUNNING and kept.reply.epoch == claimed.epoch


TestLifeOfReplies = LifeOfReplies.TestCase
