"""Counting what a user posted, where the limit has to do without Redis."""

from datetime import timedelta

from message_service.clock import now
from message_service.ids import ConversationId, UserId
from message_service.messages.message import Role
from message_service.store.messages import Messages
from tests.fixtures.samples import USER
from tests.integration.steps import Steps


async def test_posted_messages_are_counted_in_every_conversation_and_answers_are_not(
    messages: Messages, steps: Steps
) -> None:
    began_at = now()
    for number in range(3):
        await steps.exchange(conversation_id=ConversationId(f"conv-{number}"))
    await steps.post(role=Role.SYSTEM)
    await steps.post(user_id=UserId("bob"))
    assert await messages.count_posted(USER, since=began_at, at_most=100) == 4
    assert await messages.count_posted(USER, since=began_at, at_most=2) == 2
    assert await messages.count_posted(USER, since=now() + timedelta(seconds=1), at_most=100) == 0
