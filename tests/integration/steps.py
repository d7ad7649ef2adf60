"""The steps of a reply's life, each done as the service does it."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from message_service.ids import ConversationKey, MessageId, ReplyId, WorkerId
from message_service.live.channel import Channel
from message_service.live.event import Began
from message_service.live.writer import LiveWriter
from message_service.messages.conversation import Conversation
from message_service.messages.message import Message
from message_service.messages.reply import Asked, Outcome, Reply, WorkKind, first_take
from message_service.store.accept import Acceptance
from message_service.store.accept_plan import Submission
from message_service.store.claim import Claims
from message_service.store.database import Database, Row
from message_service.store.ending import Ended
from message_service.store.finish import Finishing
from message_service.store.idempotency import Accepted, IdempotencyRecords
from message_service.store.mapping import (
    conversation_from_row,
    conversation_to_row,
    message_from_row,
    reply_from_row,
)
from message_service.store.path import PathReader
from tests.fixtures.samples import CONVERSATION, KEY, USER, a_new_reply, a_submission, a_variant, completed

WORKER = WorkerId("wrk_one")
OTHER_WORKER = WorkerId("wrk_other")
LEASE_SECONDS = 10.0


class Steps:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.acceptance = Acceptance(database, IdempotencyRecords(database))
        self.claims = Claims(database, lease_seconds=LEASE_SECONDS)
        self.finishing = Finishing(database)

    async def accept(self, submission: Submission) -> Accepted:
        return await self.acceptance.accept(submission)

    async def post(self, content: str = "Hello!", **more: Any) -> Message:
        """A message that wants no reply."""
        return (await self.accept(a_submission(content, **more))).message

    async def ask(self, content: str = "Hello!", *, kind: WorkKind = WorkKind.REPLY, **more: Any) -> Reply:
        """A message that wants a reply, and that reply."""
        accepted = await self.accept(a_submission(content, reply=a_new_reply(kind), **more))
        assert accepted.reply is not None
        return accepted.reply

    async def ask_again(self, message: Message, *, asked: Asked | None = None) -> Reply:
        accepted = await self.accept(a_variant(message, asked=asked))
        assert accepted.reply is not None
        return accepted.reply

    async def claim(self, reply: Reply, worker: WorkerId = WORKER) -> Reply:
        claimed = await self.claims.claim(reply.id, worker)
        assert claimed is not None, "it can be claimed"
        return claimed

    async def answer(self, reply: Reply, outcome: Outcome | None = None) -> Ended:
        """Claim the reply and end it at once."""
        return await self.finishing.finish(await self.claim(reply), outcome or completed())

    async def exchange(
        self, question: str = "Hello!", answer: str = "Good day.", **more: Any
    ) -> tuple[Message, Message]:
        """A message and the answer to it."""
        ended = await self.answer(await self.ask(question, **more), completed(answer))
        assert ended.message is not None
        return await self.message(ended.reply.message_id), ended.message

    async def message(self, message_id: MessageId | ReplyId) -> Message:
        return message_from_row(await self._row(self.database.messages, message_id))

    async def reply(self, reply_id: ReplyId) -> Reply:
        return reply_from_row(await self.reply_row(reply_id))

    async def reply_row(self, reply_id: ReplyId) -> Row:
        return await self._row(self.database.replies, reply_id)

    async def conversation(self, key: ConversationKey = KEY) -> Conversation:
        return conversation_from_row(await self._row(self.database.conversations, key))

    async def path_to(self, message_id: MessageId, key: ConversationKey = KEY) -> list[str]:
        """What stands on the path that ends in the message, oldest first."""
        path = await PathReader(self.database).newest_first(key, message_id, lambda _: False)
        return [message.content for message in reversed(path)]

    @staticmethod
    async def _row(collection: Any, id_: str) -> Row:
        row: Row | None = await collection.find_one({"_id": id_})
        assert row is not None, id_
        return row


async def die_over(reply: Reply, claims: Claims, channel: Channel, text: str) -> None:
    """Do what a worker does that dies in the middle of `text`."""
    dead = WorkerId("wrk_dead")
    claimed = await claims.claim(reply.id, dead)
    assert claimed is not None, "it can be claimed"
    writer = LiveWriter(channel, reply.id, take=first_take(claimed.epoch), kept_seconds=60)
    writer.began(Began("scripted", "scripted", 1, "scripted.host", claimed.started_at, 40))
    writer.write(text)
    await channel.drain()
    await claims.expire(dead)


def processes(database: Database, count: int) -> list[Acceptance]:
    """As many as `count` processes have: what they share is the store alone."""
    return [Acceptance(database, IdempotencyRecords(database)) for _ in range(count)]


async def prepared(database: Database, **counters: Any) -> None:
    """The conversation as it would be after that much had happened in it."""
    row = conversation_to_row(Conversation(key=KEY, user_id=USER, conversation_id=CONVERSATION, **counters))
    await database.conversations.insert_one({"_id": KEY, **row})


def outcomes(answers: Sequence[Accepted | BaseException]) -> Counter[str]:
    return Counter(type(answer).__name__ for answer in answers)


@pytest.fixture
def steps(database: Database) -> Steps:
    return Steps(database)
