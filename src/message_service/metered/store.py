"""The steps of the store, counted."""

from collections.abc import Sequence

from message_service.ids import ConversationKey, ReplyId, UserId
from message_service.messages.reply import Attempt, Outcome, Reply, ReplyError, ReplyStatus, Spending
from message_service.metrics import Metrics
from message_service.store.accept import Acceptance
from message_service.store.accept_plan import Submission
from message_service.store.claim import Claims
from message_service.store.database import Database
from message_service.store.ending import Ended
from message_service.store.finish import Cancelled, Finishing
from message_service.store.idempotency import Accepted, IdempotencyClaim, IdempotencyRecords
from message_service.store.ledger import Ledger, Recovered
from message_service.store.repair import Repaired, Repairs


class MeteredAcceptance(Acceptance):
    def __init__(self, database: Database, idempotency: IdempotencyRecords, metrics: Metrics) -> None:
        super().__init__(database, idempotency)
        self._metrics = metrics

    async def accept(self, submission: Submission) -> Accepted:
        accepted = await super().accept(submission)
        if submission.message is not None and not accepted.is_replay:
            self._metrics.messages_accepted.labels(accepted.message.role.value).inc()
        return accepted


class MeteredIdempotency(IdempotencyRecords):
    def __init__(self, database: Database, metrics: Metrics) -> None:
        super().__init__(database)
        self._metrics = metrics

    async def find(self, claim: IdempotencyClaim) -> Accepted | None:
        first = await super().find(claim)
        if first is not None:
            self._metrics.idempotent_replays.inc()
        return first


class MeteredFinishing(Finishing):
    def __init__(self, database: Database, metrics: Metrics) -> None:
        super().__init__(database)
        self._metrics = metrics

    async def finish(self, claimed: Reply, outcome: Outcome) -> Ended:
        ended = await super().finish(claimed, outcome)
        self._metrics.spent(outcome.spent)
        self._count(ended.reply)
        return ended

    async def cancel(self, reply_id: ReplyId, user_id: UserId) -> Cancelled:
        cancelled = await super().cancel(reply_id, user_id)
        if cancelled.ended is not None:
            self._count(cancelled.ended.reply)
        return cancelled

    def _count(self, ended: Reply) -> None:
        status = ended.status.value
        self._metrics.replies_ended.labels(status, ended.provider or "none").inc()
        if ended.status is ReplyStatus.FAILED:
            self._metrics.dead_letters.labels(ended.error.code if ended.error else "unknown").inc()
        if ended.finished_at is not None:
            seconds = (ended.finished_at - ended.created_at).total_seconds()
            self._metrics.reply_seconds.labels(status).observe(max(0, seconds))


class MeteredClaims(Claims):
    def __init__(
        self, database: Database, metrics: Metrics, *, lease_seconds: float, suspect_attempts: range = range(0)
    ) -> None:
        super().__init__(database, lease_seconds=lease_seconds, suspect_attempts=suspect_attempts)
        self._metrics = metrics

    async def hand_back(
        self,
        claimed: Reply,
        *,
        delay_seconds: float,
        is_attempt_counted: bool,
        why: ReplyError | None = None,
        spent: Sequence[Spending] = (),
        attempt_log: Sequence[Attempt] = (),
    ) -> bool:
        was_ours = await super().hand_back(
            claimed,
            delay_seconds=delay_seconds,
            is_attempt_counted=is_attempt_counted,
            why=why,
            spent=spent,
            attempt_log=attempt_log,
        )
        if was_ours:
            self._metrics.spent(spent)
        return was_ours


class MeteredLedger(Ledger):
    def __init__(self, database: Database, metrics: Metrics) -> None:
        super().__init__(database)
        self._metrics = metrics

    async def book_late(self, claimed: Reply, spent: Sequence[Spending]) -> Sequence[Spending]:
        uncounted = await super().book_late(claimed, spent)
        self._metrics.spent(uncounted)
        return uncounted

    async def book_abandoned(self, claimed: Reply, recovered: Sequence[Recovered]) -> Sequence[Spending]:
        booked = await super().book_abandoned(claimed, recovered)
        self._metrics.spent(booked)
        return booked


class MeteredRepairs(Repairs):
    def __init__(self, database: Database, metrics: Metrics) -> None:
        super().__init__(database)
        self._metrics = metrics

    async def repair(self, key: ConversationKey) -> Repaired | None:
        repaired = await super().repair(key)
        for what in repaired.disagreements if repaired is not None else ():
            self._metrics.invariant_repairs.labels(what.value).inc()
        return repaired
