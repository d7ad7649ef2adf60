"""The router, with its targets' gauges and every attempt counted and timed."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from time import monotonic, perf_counter

from message_service.errors import ProviderError
from message_service.metrics import Metrics
from message_service.providers.provider import Finished, Prompt, Started, TextDelta
from message_service.providers.router import Router, RoutingPolicy
from message_service.providers.routing.breaker import BreakerState
from message_service.providers.routing.retry_budget import RetryBudget
from message_service.providers.routing.run import Restarted, Route, RouterEvent, Switched
from message_service.providers.routing.shared import SharedBreakers
from message_service.providers.routing.target import Target

_BREAKER_VALUES = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


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
