"""All metrics by name, and the wrappers that feed them: what they measure knows nothing of it."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from time import monotonic, perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from message_service.errors import ClaimLost, ProviderError, RelayUnavailable, StoreUnavailable
from message_service.ids import ConversationKey
from message_service.messages.line import Disagreement
from message_service.messages.reply import Attempt, Outcome, Reply, ReplyError, ReplyStatus, Spending, WorkKind
from message_service.providers.provider import Finished, Prompt, Started, TextDelta
from message_service.providers.router import Router, RoutingPolicy
from message_service.providers.routing.breaker import BreakerState
from message_service.providers.routing.retry_budget import RetryBudget
from message_service.providers.routing.run import Restarted, Route, RouterEvent, Switched
from message_service.providers.routing.shared import SharedBreakers
from message_service.providers.routing.target import Target
from message_service.store.accept import Acceptance
from message_service.store.accept_plan import Submission
from message_service.store.backlog import Backlog
from message_service.store.claim import Claims
from message_service.store.database import Database
from message_service.store.ending import Ended
from message_service.store.finish import Finishing
from message_service.store.idempotency import Accepted, IdempotencyClaim, IdempotencyRecords
from message_service.store.ledger import Ledger
from message_service.store.repair import Repaired, Repairs
from message_service.work.queue import WorkQueue

_PREFIX = "message_service"
_HTTP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
# The buckets of OpenTelemetry's conventions for generative AI.
_MOST_MODELS = 50
_MODEL_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)

_BREAKER_VALUES = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


class Metrics:
    """One registry a process. Labels are bounded: never a user, a conversation, a raw path or an error's text."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.http_requests = self._counter("http_requests", "HTTP requests.", "route", "method", "status")
        self.http_seconds = self._histogram("http_request_seconds", "Time to answer.", _HTTP_SECONDS, "route")
        self._http_series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.streams_open = self._gauge("streams_open", "Watchers connected now.")
        self.messages_accepted = self._counter("messages_accepted", "Messages stored.", "role")
        self.idempotent_replays = self._counter("idempotent_replays", "Requests answered with their first result.")
        self.replies_ended = self._counter("replies_ended", "Replies in their terminal state.", "status", "provider")
        self.dead_letters = self._counter("dead_letters", "Replies that failed for good.", "code")
        self.claims_lost = self._counter("claims_lost", "Replies this worker had begun that another has now.")
        self.invariant_repairs = self._counter("invariant_repairs", "Repairs of what is never to be wrong.", "what")
        for what in Disagreement:
            self.invariant_repairs.labels(what.value)  # shown as 0, which is what it is to stay
        self.reply_seconds = self._histogram("reply_seconds", "From asking to the end.", _MODEL_SECONDS, "status")
        self.replies_in_process = self._gauge("replies_in_process", "Replies this worker is answering.")
        self.queue_waiting = self._gauge("queue_waiting", "Entries no worker has read.", "kind")
        self.queue_in_process = self._gauge("queue_in_process", "Entries that are being worked on.", "kind")
        self.replies_waiting = self._gauge("replies_waiting", "Stored replies that are queued.")
        self.overloaded = self._gauge("overloaded", "Whether replies are refused because too many wait.")
        self.provider_seconds = self._histogram(
            "provider_seconds", "Time an attempt at a provider took.", _MODEL_SECONDS, "provider"
        )
        self.provider_first_token_seconds = self._histogram(
            "provider_first_token_seconds", "Time to the first text of an attempt.", _MODEL_SECONDS, "provider"
        )
        self.provider_errors = self._counter("provider_errors", "Failed attempts.", "provider", "code")
        self.provider_switches = self._counter("provider_switches", "Failovers.", "from_provider", "to_provider")
        self.provider_restarts = self._counter("provider_restarts", "Texts taken back and begun again.", "provider")
        self.provider_in_flight = self._gauge("provider_in_flight", "Replies asked of a provider now.", "provider")
        self.provider_breaker = self._gauge(
            "provider_breaker_state", "0 closed, 1 half open, 2 open: left alone.", "provider"
        )
        self.provider_tokens = self._counter(
            "provider_tokens", "Tokens booked; the classes add up to all of them.", "provider", "token_class"
        )
        self.provider_cost = self._counter(
            "provider_cost_nanodollars", "Cost booked, where the price is known.", "provider", "model"
        )
        self.provider_unpriced = self._counter(
            "provider_unpriced_attempts", "Attempts booked whose price is not known.", "provider"
        )
        self._models: set[str] = set()

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """One HTTP request."""
        series = self._http_series.get((route, method, status))
        if series is None:
            # Looking labels up costs more than counting.
            series = (self.http_requests.labels(route, method, status), self.http_seconds.labels(route))
            self._http_series[route, method, status] = series
        requests, histogram = series
        requests.inc()
        histogram.observe(seconds)

    def spent(self, spendings: Sequence[Spending]) -> None:
        """What was written into the ledger."""
        for one in spendings:
            usage = one.usage
            for class_, tokens in (
                ("input", usage.uncached_input_tokens),
                ("cached_input", usage.cached_input_tokens),
                ("cache_write", usage.cache_write_tokens),
                ("output", usage.output_tokens - usage.reasoning_tokens),
                ("reasoning", usage.reasoning_tokens),
            ):
                self.provider_tokens.labels(one.provider, class_).inc(tokens)
            if one.cost_nano_usd is None:
                self.provider_unpriced.labels(one.provider).inc()
            else:
                self.provider_cost.labels(one.provider, self._model_label(one.model)).inc(one.cost_nano_usd)

    def _model_label(self, model: str) -> str:
        """The model, or `other`: callers and model servers make up names, and series never go away."""
        if len(self._models) < _MOST_MODELS:
            self._models.add(model)
        return model if model in self._models else "other"

    def exposition(self) -> bytes:
        """Prometheus text format."""
        return generate_latest(self.registry)

    async def sample_queue(self, queue: WorkQueue) -> None:
        """Set the queue's gauges; they keep their last values while Redis is away."""
        for kind in WorkKind:
            try:
                depth = await queue.depth(kind)
            except RelayUnavailable:
                return
            self.queue_waiting.labels(kind.value).set(depth.waiting)
            self.queue_in_process.labels(kind.value).set(depth.in_process)

    async def sample_backlog(self, backlog: Backlog) -> None:
        """Set the gauges of what is stored; they keep their last values while MongoDB is away."""
        try:
            await backlog.look()
        except StoreUnavailable:
            return
        self.replies_waiting.set(backlog.waiting)
        self.overloaded.set(backlog.is_overloaded)

    def in_process(self, answer: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        """`answer`, counted while it runs, and when it lost its claim."""

        async def counted(*args: object) -> None:
            with self.replies_in_process.track_inprogress():
                try:
                    await answer(*args)
                except ClaimLost:
                    self.claims_lost.inc()
                    raise

        return counted

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", meaning, labels, registry=self.registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", meaning, labels, buckets=buckets, registry=self.registry)


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
        status, provider = ended.reply.status.value, ended.reply.provider or "none"
        self._metrics.replies_ended.labels(status, provider).inc()
        if ended.reply.status is ReplyStatus.FAILED:
            self._metrics.dead_letters.labels(ended.reply.error.code if ended.reply.error else "unknown").inc()
        if ended.reply.finished_at is not None:
            seconds = (ended.reply.finished_at - ended.reply.created_at).total_seconds()
            self._metrics.reply_seconds.labels(status).observe(max(0, seconds))
        return ended


class MeteredClaims(Claims):
    def __init__(self, database: Database, metrics: Metrics, *, lease_seconds: float) -> None:
        super().__init__(database, lease_seconds=lease_seconds)
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

    async def book_late(self, claimed: Reply, spent: Sequence[Spending]) -> None:
        await super().book_late(claimed, spent)
        # Where they were booked before, nobody heard of it, so nobody counted them.
        self._metrics.spent(spent)


class MeteredRepairs(Repairs):
    def __init__(self, database: Database, metrics: Metrics) -> None:
        super().__init__(database)
        self._metrics = metrics

    async def repair(self, key: ConversationKey) -> Repaired | None:
        repaired = await super().repair(key)
        for what in repaired.disagreements if repaired is not None else ():
            self._metrics.invariant_repairs.labels(what.value).inc()
        return repaired


class MeteredRouter(Router):
    def __init__(
        self,
        targets: Sequence[Target],
        policy: RoutingPolicy | None = None,
        *,
        metrics: Metrics,
        shared: SharedBreakers | None = None,
        budget: RetryBudget | None = None,
    ) -> None:
        super().__init__(targets, policy, shared=shared, budget=budget)
        self._metrics = metrics
        for target in targets:
            metrics.provider_in_flight.labels(target.name).set_function(partial(_in_flight, target))
            metrics.provider_breaker.labels(target.name).set_function(partial(_breaker, target))

    async def stream(self, prompt: Prompt, route: Route | None = None) -> AsyncGenerator[RouterEvent, None]:
        attempt = _Attempt(self._metrics)
        async with aclosing(super().stream(prompt, route)) as events:
            try:
                async for event in events:
                    attempt.see(event)
                    yield event
            except ProviderError as fault:
                self._metrics.provider_errors.labels(fault.provider, fault.code).inc()
                raise


def _in_flight(target: Target) -> float:
    return target.in_flight


def _breaker(target: Target) -> float:
    state = BreakerState.CLOSED if target.breaker is None else target.breaker.state(monotonic())
    return _BREAKER_VALUES[state]


class _Attempt:
    """Watches the events of one reply's attempts go by."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._began_at = perf_counter()
        self._provider = "unknown"
        self._has_text = False

    def see(self, event: RouterEvent) -> None:
        metrics = self._metrics
        if isinstance(event, TextDelta):
            if not self._has_text:
                self._has_text = True
                metrics.provider_first_token_seconds.labels(self._provider).observe(self._seconds())
        elif isinstance(event, Finished):
            metrics.provider_seconds.labels(self._provider).observe(self._seconds())
        elif isinstance(event, Switched):
            metrics.provider_errors.labels(event.from_provider, event.reason).inc()
            metrics.provider_switches.labels(event.from_provider, event.to_provider).inc()
            self._began_at = perf_counter()
            self._has_text = False
        elif isinstance(event, Restarted):
            metrics.provider_restarts.labels(self._provider).inc()
        elif isinstance(event, Started):
            self._provider = event.provider

    def _seconds(self) -> float:
        return perf_counter() - self._began_at
