"""Watching a reply from any position: first what is live, then what is kept. A watcher that leaves changes nothing."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from message_service.errors import InvalidPosition, RelayUnavailable
from message_service.live.continuity import Continuity, end_of, remainder
from message_service.live.event import QUEUED, Ended, Placed, Position, Queued, Step
from message_service.live.follower import Follower, Subscription
from message_service.messages.reply import Reply, ReplyStatus
from message_service.store.replies import Replies, ReplyWithMessage

_SILENCE_SECONDS = 2.0
"""After so long without an event the store is asked whether the reply has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchDesk:
    """What watching needs."""

    replies: Replies
    follower: Follower


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing happened for a while; a moment to show that the connection lives."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The reply has ended, and this is how. The last thing a watcher sees."""

    position: Position
    found: ReplyWithMessage


Sight = Placed | Silence | Closed


def has_seen_the_end(found: ReplyWithMessage, after: Position) -> bool:
    """Whether nothing remains to be shown. Raises `InvalidPosition` for one that this reply cannot have issued."""
    reply = found.reply
    if not reply.is_terminal:
        return False
    if after.take > reply.take:
        raise InvalidPosition
    # Further than the end is somebody who saw text that was hidden since.
    return after >= end_of(reply, _text(found))


async def watch(
    found: ReplyWithMessage, after: Position, *, subscription: Subscription, desk: WatchDesk
) -> AsyncGenerator[Sight, None]:
    """Everything after that position, then `Closed`; less when the subscription is closed meanwhile."""
    continuity = Continuity(after)
    if not found.reply.is_terminal:
        if found.reply.status is ReplyStatus.QUEUED and after < QUEUED:
            continuity.seen = QUEUED
            yield Placed(QUEUED, Queued(found.position or 0))
        async for sight in _follow(found, continuity, subscription, desk):
            yield sight
        if subscription.is_closed:
            return
        found = await desk.replies.find_visible(found.reply.id, found.reply.user_id)
    text = _text(found)
    for placed in remainder(found.reply, text, continuity.seen):
        yield placed
    yield Closed(_end(found.reply, text, continuity.seen), found)


def _end(reply: Reply, text: str, seen: Position) -> Position:
    """Where the stream ends; never before what was shown of a text that was hidden meanwhile."""
    end = end_of(reply, text)
    return max(end, Position(seen.take, seen.characters, Step.END)) if seen.take == reply.take else end


async def _follow(
    found: ReplyWithMessage, continuity: Continuity, subscription: Subscription, desk: WatchDesk
) -> AsyncGenerator[Placed | Silence, None]:
    """What happens until the store knows the end."""
    while not subscription.is_closed:
        try:
            arrived = await subscription.next(wait_seconds=_SILENCE_SECONDS)
        except RelayUnavailable:
            arrived = []
        may_have_ended = not arrived
        for placed in arrived:
            if isinstance(placed.event, Ended):
                may_have_ended = True
            else:
                for shown in continuity.admit(placed):
                    yield shown
        if may_have_ended and await desk.replies.has_ended(found.reply.id):
            return
        if not arrived:
            yield Silence()


def _text(found: ReplyWithMessage) -> str:
    return found.message.content if found.message is not None else ""
