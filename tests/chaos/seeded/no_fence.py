"""Whoever has claimed a reply once may end it, and no unique id stands in the way."""

from typing import Any

from message_service.ids import new_message_id
from message_service.live.writer import LiveWriter
from message_service.store import ending, finish
from message_service.store.ending import end_reply
from message_service.work.held import Hold, StopReason
from tests.chaos.seeded import plant_in


def plant() -> None:
    message_of, stop = ending._message_of, Hold.stop

    async def end_whatever(database: Any, filter_: dict[str, Any], outcome: Any, session: Any) -> Any:
        return await end_reply(database, {"_id": filter_["_id"]}, outcome, session)

    def message_with_a_new_id(*given: Any) -> Any:
        message = message_of(*given)
        message.id = new_message_id()
        return message

    def usage_with_a_new_id(reply: Any, outcome: Any) -> dict[str, Any]:
        return {"_id": new_message_id(), "reply_id": reply.id, "user_id": reply.user_id}

    def stop_unless_lost(hold: Hold, reason: StopReason) -> None:
        if reason is not StopReason.LOST:
            stop(hold, reason)

    plant_in(finish, end_reply=end_whatever)
    plant_in(ending, _message_of=message_with_a_new_id)
    plant_in(ending, _usage_row=usage_with_a_new_id)
    plant_in(Hold, stop=stop_unless_lost)
    # Set by each writer in itself, so that a property takes its place.
    never = property(lambda _: False, lambda _, __: None)
    setattr(LiveWriter, "is_refused", never)  # noqa: B010  # a typed assignment is what this is not
