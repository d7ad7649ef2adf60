"""A reply that failed is asked for again by whoever runs the service: once, at no cost to its user."""

from dataclasses import dataclass
from hashlib import blake2b

from message_service.ids import ReplyId, UserId, new_reply_id
from message_service.logs import log
from message_service.messages.dead_letter import DeadLetter
from message_service.messages.reply import NewReply, Reply, WorkKind
from message_service.store.accept import Acceptance
from message_service.store.accept_plan import Submission
from message_service.store.dead_letters import DeadLetters
from message_service.store.idempotency import IdempotencyClaim
from message_service.store.messages import Messages
from message_service.store.replies import Replies
from message_service.work.queue import WorkQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class RevivalDesk:
    """What reviving needs."""

    letters: DeadLetters
    messages: Messages
    replies: Replies
    acceptance: Acceptance
    queue: WorkQueue
    reply_deadline_seconds: float


async def revive(reply_id: ReplyId, *, by: UserId, desk: RevivalDesk) -> Reply:
    """The variant that retries the failed reply, as it stands now; the same one however often this is called.

    Raises `DeadLetterNotFound`, `MessageNotFound` when the user has hidden the message, `ConversationFull`.
    """
    letter = await desk.letters.get(reply_id)
    retry_id = await desk.letters.plan_retry(reply_id, letter.retried_as or new_reply_id())
    reply = await desk.replies.get(retry_id)
    if reply is None:
        reply = await _accept(letter, retry_id, desk)
    await desk.letters.mark_retried(letter, by)
    log.info("dead_letter.retried", reply=reply_id, retried_as=reply.id)
    return reply


async def _accept(letter: DeadLetter, retry_id: ReplyId, desk: RevivalDesk) -> Reply:
    accepted = await desk.acceptance.accept(
        Submission(
            user_id=letter.user_id,
            conversation_id=letter.conversation_id,
            answered=await desk.messages.find_visible(letter.message_id, letter.user_id),
            reply=NewReply(
                id=retry_id,
                asked=letter.asked,
                kind=WorkKind.VARIANT,
                deadline_seconds=desk.reply_deadline_seconds,
            ),
            # Two retries at once: the second is answered with the first. No user's key holds a tab.
            idempotency=IdempotencyClaim(
                letter.user_id,
                f"\tdead-letter {letter.reply_id}",
                blake2b(retry_id.encode(), digest_size=16).digest(),
            ),
        )
    )
    assert accepted.reply is not None, "a reply was asked for"
    if accepted.position == 0 and not accepted.is_replay:
        desk.queue.announce(accepted.reply.id, accepted.reply.kind)
    return accepted.reply
