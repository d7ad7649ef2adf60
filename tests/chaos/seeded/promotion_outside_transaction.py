"""The next reply gets its turn in a write of its own, a moment after the end of the one before is stored."""

import asyncio
from typing import Any

from message_service.messages.reply import WorkKind
from message_service.store import ending
from message_service.store.ending import Promoted
from message_service.store.finish import Finishing
from tests.chaos.seeded import plant_in

_LATER_SECONDS = 1.5


def plant() -> None:
    finish = Finishing.finish

    async def name_oldest(database: Any, reply: Any, session: Any) -> Promoted | None:
        row = await database.replies.find_one(
            {"conversation_key": reply.conversation_key, "status": "queued"}, sort=[("turn", 1)], session=session
        )
        return Promoted(row["_id"], WorkKind(row["kind"])) if row else None

    async def finish_and_promote(finishing: Finishing, *given: Any) -> Any:
        ended = await finish(finishing, *given)
        if ended.promoted is not None:
            await asyncio.sleep(_LATER_SECONDS)
            next_one = {"_id": ended.promoted.reply_id}
            await finishing._database.replies.update_one(next_one, {"$set": {"is_next": True}})
        return ended

    plant_in(ending, _promote_oldest=name_oldest)
    plant_in(Finishing, finish=finish_and_promote)
