"""All metrics by name. `metered` feeds most of them: what they measure knows nothing of it."""

from collections.abc import Awaitable, Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from message_service.errors import ClaimLost, RelayUnavailable, StoreUnavailable
from message_service.messages.line import Disagreement
from message_service.messages.reply import Spending, WorkKind
from message_service.store.backlog import Backlog
from message_service.work.queue import WorkQueue

_PREFIX = "message_service"
_HTTP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_MOST_MODELS = 50
# The buckets of OpenTelemetry's conventions for generative AI.
_MODEL_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)


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
