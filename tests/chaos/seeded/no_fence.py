"""Whoever has claimed a reply once may end it, and no unique id stands in the way."""

from typing import Any

from message_service.ids import new_message_id
from message_service.live.writer import LiveWriter
from message_service.store import ending, ending_rows, finish
from message_service.store.ending import end_reply
from message_service.store.ending_rows import message_of
from message_service.work.held import Hold, StopReason
from tests.chaos.seeded import plant_in


def plant() -> None:
    stop = Hold.stop

    async def end_whatever(database: Any, filter_: dict[str, Any], outcome: Any, session: Any) -> Any:
        return await end_reply(database, {"_id": filter_["_id"]}, outcome, session)

    def message_with_a_new_id(*given: Any) -> Any:
        message = message_of(*given)
        message.id = new_message_id()
        return message

    def stop_unless_lost(hold: Hold, reason: StopReason) -> None:
        if reason is not StopReason.LOST:
            stop(hold, reason)

    plant_in(finish, end_reply=end_whatever)
    plant_in(ending, _is_at=lambda _row, _epoch: True, message_of=message_with_a_new_id)
    plant_in(ending_rows, ledger_rows=lambda _reply, _spent: [])
    plant_in(Hold, stop=stop_unless_lost)
    # Set by each writer in itself, so that a property takes its place.
    never = property(lambda _: False, lambda _, __: None)
    setattr(LiveWriter, "is_refused", never)  # noqa: B010  # a typed assignment is what this is not
