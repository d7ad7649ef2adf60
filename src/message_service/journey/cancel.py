"""Stopping a reply: at once where it waits, by asking its worker where it runs."""

from dataclasses import dataclass

from message_service.ids import ReplyId, UserId
from message_service.live.channel import Channel
from message_service.live.continuity import end_of
from message_service.messages.reply import Reply
from message_service.store.finish import Finishing
from message_service.work.queue import WorkQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelDesk:
    """What cancelling needs."""

    finishing: Finishing
    channel: Channel
    queue: WorkQueue


async def cancel(reply_id: ReplyId, user_id: UserId, *, desk: CancelDesk) -> Reply:
    """The reply as it stands now: cancelled, or running with its worker asked to stop.

    The worker hears of it within a third of a second; when it does not, because it died or hangs, another
    worker takes the reply over and ends it, about a second after the request.

    Raises `ReplyNotFound`, `ReplyNotCancellable`.
    """
    cancelled = await desk.finishing.cancel(reply_id, user_id)
    if cancelled.ended is not None:
        await desk.channel.end(reply_id, end_of(cancelled.reply, ""))
        if cancelled.ended.promoted is not None:
            desk.queue.announce(cancelled.ended.promoted.reply_id, cancelled.ended.promoted.kind)
    return cancelled.reply
