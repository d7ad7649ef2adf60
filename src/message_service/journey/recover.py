"""The safety net, in every worker: keeps leases alive, hears of cancellations, finds what nobody works on, repairs."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from message_service.ids import ReplyId, WorkerId
from message_service.logs import log
from message_service.messages.reply import WorkKind
from message_service.store.claim import Claims
from message_service.store.repair import Repairs
from message_service.work.held import HeldReplies, Hold, StopReason
from message_service.work.probation import Probation


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyNet:
    """What recovering needs."""

    worker_id: WorkerId
    kinds: Sequence[WorkKind]
    claims: Claims
    repairs: Repairs
    held: HeldReplies
    probation: Probation


async def find_lost(limit: int, *, net: SafetyNet) -> Sequence[ReplyId]:
    """Replies whose worker is gone, whose word got lost on its way, or whose time to be tried again has come."""
    # What is held here is found as well where its renewal is late, and is to take nobody's place.
    held = frozenset(hold.claimed.id for hold in net.held)
    # Suspects first: there are never many at once, and others that keep coming would keep them waiting.
    admitted = await _suspects_to_try(limit, held, net)
    if len(admitted) == limit:
        return admitted
    return [*admitted, *await net.claims.lost_ones(net.kinds, limit=limit - len(admitted), besides=held)]


async def _suspects_to_try(limit: int, held: Collection[ReplyId], net: SafetyNet) -> list[ReplyId]:
    """Replies whose workers died again and again, as many as may begin now."""
    survivors = net.probation.survivors()
    if survivors:
        await net.claims.reprieve(survivors, net.worker_id)
        net.probation.clear(survivors)
    found = await net.claims.suspects(net.kinds, limit=limit + len(held))
    suspects = {reply_id: attempts for reply_id, attempts in found.items() if reply_id not in held}
    return net.probation.admit(suspects, room=limit)


async def renew(*, net: SafetyNet) -> None:
    """Extend the leases of all that is held here, note what is being asked of whom, stop what is no longer ours."""
    held = {hold.claimed.id: hold for hold in net.held}
    if held and await net.claims.renew(list(held), net.worker_id) < len(held):
        still_ours = {(found.reply_id, found.epoch) for found in await net.claims.held_by(net.worker_id)}
        for reply_id, hold in held.items():
            # What was finished meanwhile has left the registry and needs no stopping.
            if (reply_id, hold.claimed.epoch) not in still_ours and net.held.get(reply_id) is hold:
                hold.stop(StopReason.LOST)
    await _note_attempts(held.values(), net)


async def _note_attempts(held: Iterable[Hold], net: SafetyNet) -> None:
    """Where another attempt has begun: most replies end before, and cost nothing here."""
    stages = {hold: hold.progress.stage for hold in held if hold.progress.stage != hold.noted_stage}
    if stages:
        await net.claims.note_attempts([(hold.claimed, hold.progress.so_far()) for hold in stages])
    for hold, stage in stages.items():
        hold.noted_stage = stage


async def look_for_cancels(*, net: SafetyNet) -> None:
    """Stop what somebody asked to stop, on whichever process they asked."""
    if len(net.held):
        for found in await net.claims.cancels_for(net.worker_id):
            hold = net.held.get(found)
            if hold is not None:
                hold.stop(StopReason.CANCELLED)


async def repair(*, net: SafetyNet) -> None:
    """Make conversations agree with their replies where they do not, which is always a fault of ours."""
    for repaired in await net.repairs.look():
        # A reply that was given its turn is found by the next sweep.
        log.warning(
            "conversation.repaired",
            conversation=repaired.conversation_key,
            reply=repaired.next_reply,
            what=[what.value for what in repaired.disagreements],
        )
