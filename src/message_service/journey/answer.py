"""The second step, in a worker: a queued reply becomes text, or one visible failure.

claim -> context window -> provider stream -> live channel -> finish -> nudge the next reply.
"""

import asyncio

from message_service.errors import (
    ClaimLost,
    MessageNotFound,
    NoProviderAvailable,
    ProviderError,
    RelayUnavailable,
    StoreUnavailable,
)
from message_service.ids import ReplyId
from message_service.journey.abandoned import book_abandoned
from message_service.journey.draft import Draft
from message_service.journey.writing import WritingDesk, remaining_seconds, write
from message_service.live.writer import LiveWriter
from message_service.logs import log
from message_service.messages.reply import FinishReason, Outcome, Reply, ReplyError, ReplyStatus, first_take
from message_service.store.ending import Ended
from message_service.work.held import Hold, StopReason
from message_service.work.probation import Probation
from message_service.work.retry import TryAgain

_PAUSE_BEFORE_FINISHING_AGAIN_SECONDS = 0.2
_NO_ROOM = ReplyError(NoProviderAvailable.code, NoProviderAvailable.sentence)
_TRIED_TOO_OFTEN = ReplyError("too_many_attempts", "The reply was tried too often without an end.")


async def answer(reply_id: ReplyId, *, desk: WritingDesk, probation: Probation) -> None:
    """See one reply through to its end, or hand it back. Safe to call twice: the second finds nothing to claim.

    Raises `ClaimLost` when another worker has the reply now: nothing more was written here.
    """
    with probation.attending(reply_id) as is_on_probation:
        claimed = await desk.claims.claim(reply_id, desk.worker_id, is_on_probation=is_on_probation)
        if claimed is None:
            return
        if is_on_probation:
            probation.claimed(reply_id)
            log.warning("reply.on_probation", reply=claimed.id, message=claimed.message_id, attempts=claimed.attempts)
        await _see_through(claimed, desk)


async def _see_through(claimed: Reply, desk: WritingDesk) -> None:
    draft = Draft(
        LiveWriter(
            desk.channel,
            claimed.id,
            take=first_take(claimed.epoch),
            kept_seconds=max(60, int(remaining_seconds(claimed)) + 60),
        ),
        desk.prices,
    )
    with desk.held.hold(claimed, draft) as hold:
        try:
            outcome = await _attempt(claimed, draft, hold, desk)
            if outcome is not None:
                ended = await _finish(hold, outcome, desk)
                await draft.writer.end()
                _tell(ended)
                if ended.promoted is not None:
                    desk.queue.announce(ended.promoted.reply_id, ended.promoted.kind)
        except ClaimLost:
            log.warning("reply.claim_lost", reply=claimed.id, epoch=claimed.epoch)
            await _book_late(claimed, draft, desk)
            raise
        finally:
            draft.writer.stop()


async def _attempt(claimed: Reply, draft: Draft, hold: Hold, desk: WritingDesk) -> Outcome | None:
    """How this attempt ends the reply; None when it was handed back. Raises `ClaimLost`."""
    await book_abandoned(claimed, desk)
    earlier_text = await _earlier_text(claimed, desk) if claimed.is_cancel_requested else ""
    if claimed.epoch > 1:
        # Watchers may have seen text of an earlier attempt, of this worker or of a dead one.
        draft.writer.reset("retried")
    if claimed.is_cancel_requested:
        draft.writer.write(earlier_text)
        return draft.ended(desk.counter, ReplyStatus.CANCELLED, FinishReason.CANCELLED)
    if remaining_seconds(claimed) <= 0:
        return draft.failed(_late(claimed.setback))
    if claimed.attempts > desk.retry.max_attempts:
        return draft.failed(_TRIED_TOO_OFTEN)

    writing = asyncio.create_task(write(claimed, draft, desk))
    hold.write_in(writing)
    try:
        async with asyncio.timeout(remaining_seconds(claimed)):
            await writing
    except ProviderError as error:
        return await _after_failure(claimed, draft, error, desk)
    except TimeoutError:
        return _after_deadline(claimed, draft, desk)
    except MessageNotFound:
        return draft.ended(desk.counter, ReplyStatus.CANCELLED, FinishReason.CANCELLED)
    except asyncio.CancelledError:
        return await _after_stop(claimed, draft, hold, desk)
    except BaseException:
        writing.cancel()
        raise
    status = ReplyStatus.COMPLETED if draft.finish_reason is FinishReason.STOP else ReplyStatus.INCOMPLETE
    return draft.ended(desk.counter, status, draft.finish_reason)


async def _earlier_text(claimed: Reply, desk: WritingDesk) -> str:
    """What a worker wrote that died before it could cancel, where Redis still has it."""
    try:
        return await desk.channel.text_so_far(claimed.id)
    except RelayUnavailable:
        return ""


def _after_deadline(claimed: Reply, draft: Draft, desk: WritingDesk) -> Outcome:
    if draft.writer.text:
        return draft.ended(desk.counter, ReplyStatus.INCOMPLETE, FinishReason.ERROR, _late(claimed.setback))
    # A reply that no provider was asked for waited for room at one.
    return draft.failed(_late(claimed.setback if draft.attempts else _NO_ROOM))


def _late(setback: ReplyError | None) -> ReplyError:
    """The deadline as the error, with what held the reply up until then."""
    why = f" What held it up: {setback.detail}" if setback is not None else ""
    return ReplyError("deadline_exceeded", f"The reply was not finished before its deadline.{why}")


async def _after_failure(claimed: Reply, draft: Draft, error: ProviderError, desk: WritingDesk) -> Outcome | None:
    log.warning(
        "reply.attempt_failed", reply=claimed.id, attempt=claimed.attempts, provider=error.provider, error=error.code
    )
    if draft.writer.text:
        # Text was shown: keeping it, marked incomplete, beats mixing it with another answer.
        return draft.ended(desk.counter, ReplyStatus.INCOMPLETE, FinishReason.ERROR, _told(error))
    decision = desk.retry.decide(
        error, attempts=claimed.attempts, claims=claimed.epoch, remaining_seconds=remaining_seconds(claimed)
    )
    if isinstance(decision, TryAgain):
        is_ours = await desk.claims.hand_back(
            claimed,
            delay_seconds=decision.after_seconds,
            is_attempt_counted=decision.is_attempt_counted,
            why=_told(error),
            spent=draft.spent(),
            attempt_log=draft.attempt_log(),
        )
        if not is_ours:
            raise ClaimLost
        return None
    return draft.failed(_told(error))


async def _after_stop(claimed: Reply, draft: Draft, hold: Hold, desk: WritingDesk) -> Outcome | None:
    match hold.stop_reason:
        case StopReason.CANCELLED:
            return draft.ended(desk.counter, ReplyStatus.CANCELLED, FinishReason.CANCELLED)
        case StopReason.DRAINING:
            if not await desk.claims.hand_back(
                claimed,
                delay_seconds=0,
                is_attempt_counted=False,
                spent=draft.spent(),
                attempt_log=draft.attempt_log(),
            ):
                raise ClaimLost
            desk.queue.announce(claimed.id, claimed.kind)
            return None
        case StopReason.LOST:
            raise ClaimLost
        case None:
            raise asyncio.CancelledError


async def _finish(hold: Hold, outcome: Outcome, desk: WritingDesk) -> Ended:
    """Store the end, again while the store is away and the reply is still ours as far as anybody knows.

    A worker that is going away does not wait for the store: the lease runs out, and another one ends the reply.
    """
    while True:
        try:
            return await desk.finishing.finish(hold.claimed, outcome)
        except StoreUnavailable:
            is_over = hold.is_draining or remaining_seconds(hold.claimed) <= 0
            if is_over or hold.stop_reason is StopReason.LOST:
                raise
            await asyncio.sleep(_PAUSE_BEFORE_FINISHING_AGAIN_SECONDS)


async def _book_late(claimed: Reply, draft: Draft, desk: WritingDesk) -> None:
    """The tokens are gone, whoever owns the reply now."""
    spent = draft.spent()
    if spent:
        try:
            await desk.ledger.book_late(claimed, spent)
        except StoreUnavailable:
            log.warning("reply.usage_not_booked", reply=claimed.id, epoch=claimed.epoch, attempts=len(spent))


def _told(error: ProviderError) -> ReplyError:
    """For whoever asked: the kind of failure, without the provider's own words."""
    return ReplyError(error.code, error.sentence)


def _tell(ended: Ended) -> None:
    log.info(
        "reply.ended",
        reply=ended.reply.id,
        message=ended.reply.message_id,
        status=ended.reply.status.value,
        attempts=ended.reply.attempts,
        provider=ended.reply.provider,
    )
