"""The first thing done with a reply whose worker died: what that worker used is booked, as far as it can be known.

Known are the attempts it noted with its leases, and those whose beginning it showed, with the text that came of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from message_service.clock import now
from message_service.errors import RelayUnavailable
from message_service.journey.tally import spent, with_cost
from message_service.journey.writing import WritingDesk
from message_service.live.event import START, Placed
from message_service.live.traces import Trace, traces
from message_service.logs import log
from message_service.messages.reply import AbandonedClaim, Attempt, Reply, Usage
from message_service.providers.routing.attempts import STOPPED
from message_service.store.ledger import Recovered

WORKER_DIED = "worker_died"
"""The error of an attempt whose worker died, or was not heard of for as long as its lease."""
_UNKNOWN = "unknown"


async def book_abandoned(claimed: Reply, desk: WritingDesk) -> None:
    """Log and book the attempts of the claims that nobody ended, once, whoever else tries.

    Raises `ClaimLost` when another worker has the reply now and does so, and `StoreUnavailable`.
    """
    if not claimed.abandoned:
        return
    shown = await _shown(claimed, desk)
    recovered = []
    for claim in claimed.abandoned:
        found = attempts_of(
            claim,
            traces(shown, epoch=claim.epoch),
            asked_provider=claimed.asked.provider,
            at=now(),
            count_tokens=desk.counter.count,
        )
        log.warning("reply.worker_died", reply=claimed.id, epoch=claim.epoch, attempts=len(found))
        recovered.append(
            Recovered(claim.epoch, with_cost(found, desk.prices), spent(found, desk.prices)),
        )
    await desk.ledger.book_abandoned(claimed, recovered)


async def _shown(claimed: Reply, desk: WritingDesk) -> Sequence[Placed]:
    try:
        return await desk.channel.read(claimed.id, after=START)
    except RelayUnavailable:
        return ()


def attempts_of(
    claim: AbandonedClaim,
    traced: Sequence[Trace],
    *,
    asked_provider: str | None,
    at: datetime,
    count_tokens: Callable[[str], int],
) -> tuple[Attempt, ...]:
    """What the worker that died had asked of providers, oldest first; the last is what it died over."""
    known = {(one.started_at, one.provider): one for one in claim.attempts}
    for trace in traced:
        one = _attempt(trace, claim, at, count_tokens)
        noted = known.get((one.started_at, one.provider))
        known[one.started_at, one.provider] = one if noted is None or noted.error in (None, STOPPED) else noted
    attempts = sorted(known.values(), key=lambda one: one.started_at)
    if not attempts or attempts[-1].error not in (None, STOPPED):
        # It died before anybody was asked, or before that was noted.
        started_at = max([claim.claimed_at, *(one.started_at for one in attempts)])
        attempts.append(Attempt(provider=asked_provider or _UNKNOWN, started_at=started_at, ended_at=at))
    return (*attempts[:-1], replace(attempts[-1], ended_at=at, error=WORKER_DIED))


def _attempt(trace: Trace, claim: AbandonedClaim, at: datetime, count_tokens: Callable[[str], int]) -> Attempt:
    began = trace.began
    written = count_tokens("".join(trace.pieces)) if trace.pieces else 0
    return Attempt(
        provider=began.provider,
        host=began.host,
        model=began.model,
        started_at=began.started_at or claim.claimed_at,
        ended_at=at,
        usage=trace.usage or Usage(began.input_tokens, written, is_estimated=True),
        error=trace.error,
    )
