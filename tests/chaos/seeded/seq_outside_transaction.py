"""The place in a conversation is taken in a write of its own, a moment before the message is stored."""

import asyncio
from dataclasses import replace
from typing import Any

from message_service.store.accept import Acceptance
from tests.chaos.seeded import plant_in

_LATER_SECONDS = 1.5


def plant() -> None:
    transact, read_conversations = Acceptance._transact, Acceptance._read_conversations

    async def take_places_first(acceptance: Acceptance, batch: Any, **more: Any) -> Any:
        conversations = acceptance._database.conversations
        for submission in batch:
            await conversations.update_one({"_id": submission.key}, {"$inc": {"last_seq": 1}})
        await asyncio.sleep(_LATER_SECONDS)
        return await transact(acceptance, batch, **more)

    async def read_as_before(acceptance: Acceptance, *given: Any) -> Any:
        found = await read_conversations(acceptance, *given)
        return {key: replace(conversation, last_seq=conversation.last_seq - 1) for key, conversation in found.items()}

    plant_in(Acceptance, _transact=take_places_first)
    plant_in(Acceptance, _read_conversations=read_as_before)
