"""The router, with its targets' gauges and every attempt counted and timed."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from time import monotonic

from message_service.errors import NoProviderAvailable
from message_service.metrics import Metrics
from message_service.providers.provider import Prompt, Started
from message_service.providers.router import Router, RoutingPolicy
from message_service.providers.routing.attempts import STOPPED
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
        route = route or Route()
        attempts = _Attempts(self._metrics, route)
        try:
            async with aclosing(super().stream(prompt, route)) as events:
                async for event in events:
                    attempts.see(event)
                    yield event
        except NoProviderAvailable as fault:
            self._metrics.provider_errors.labels(fault.provider, fault.code).inc()
            raise
        finally:
            attempts.count_ended()


def _in_flight(target: Target) -> float:
    return target.in_flight


def _breaker(target: Target) -> float:
    state = BreakerState.CLOSED if target.breaker is None else target.breaker.state(monotonic())
    return _BREAKER_VALUES[state]


class _Attempts:
    """Counts what one reply's attempts came to, each once, by the log that the router keeps of them."""

    def __init__(self, metrics: Metrics, route: Route) -> None:
        self._metrics = metrics
        self._route = route
        self._counted = len(route.attempts)
        self._provider = "unknown"

    def see(self, event: RouterEvent) -> None:
        if isinstance(event, Switched):
            self.count_ended()
            self._metrics.provider_switches.labels(event.from_provider, event.to_provider).inc()
        elif isinstance(event, Restarted):
            self._metrics.provider_restarts.labels(self._provider).inc()
        elif isinstance(event, Started):
            self._provider = event.provider

    def count_ended(self) -> None:
        metrics, attempts = self._metrics, self._route.attempts
        for attempt in attempts[self._counted :]:
            metrics.provider_seconds.labels(attempt.provider).observe(_seconds(attempt.started_at, attempt.ended_at))
            if attempt.first_token_at is not None:
                metrics.provider_first_token_seconds.labels(attempt.provider).observe(
                    _seconds(attempt.started_at, attempt.first_token_at)
                )
            if attempt.error is not None and attempt.error != STOPPED:
                metrics.provider_errors.labels(attempt.provider, attempt.error).inc()
        self._counted = len(attempts)


def _seconds(start: datetime, end: datetime) -> float:
    # By the wall clock, which may be set back meanwhile.
    return max(0.0, (end - start).total_seconds())
