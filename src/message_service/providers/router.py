"""Which provider answers: the first in the strategy's order that is well and has room, and who takes over from it.

candidates -> what fits -> tier -> strategy -> breaker -> concurrency -> attempt -> failover by policy.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from random import Random

from message_service.errors import (
    ContextTooLong,
    ModelNotFound,
    ModelUnavailable,
    ProviderError,
    ProviderRequestInvalid,
)
from message_service.providers.provider import Prompt, ProviderHealth
from message_service.providers.routing.admission import Gate, Pass
from message_service.providers.routing.attempts import Notes
from message_service.providers.routing.breaker import BLAME, Blame
from message_service.providers.routing.failover import Broken, FailoverPolicy, Verdict
from message_service.providers.routing.fitting import fitting
from message_service.providers.routing.retry_budget import RetryBudget
from message_service.providers.routing.run import Continued, Fresh, Restarted, Route, RouterEvent, Run, may_go_on
from message_service.providers.routing.shared import SharedBreakers
from message_service.providers.routing.strategies import STRATEGIES, Strategy, in_tiers
from message_service.providers.routing.target import Target
from message_service.setting_types import StrategyName

_HEALTH_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingPolicy:
    strategy: StrategyName = "priority"
    failover: FailoverPolicy = field(default_factory=FailoverPolicy)
    most_switches: int = 3
    most_dollars: float | None = None
    """No target is asked that might cost more for one reply."""


class Router:
    """Several targets as one provider. `shared` keeps its breakers in step with other workers'."""

    def __init__(
        self,
        targets: Sequence[Target],
        policy: RoutingPolicy | None = None,
        *,
        shared: SharedBreakers | None = None,
        budget: RetryBudget | None = None,
        dice: Random | None = None,
    ) -> None:
        if not targets:
            raise ValueError("a router needs at least one provider")
        self.targets = tuple(targets)
        self._policy = policy or RoutingPolicy()
        self._gate = Gate(shared)
        self._budget = budget or RetryBudget()
        self._dice = dice or Random()
        self._strategies: Mapping[str, Strategy] = {name: build(self._dice) for name, build in STRATEGIES.items()}

    async def stream(self, prompt: Prompt, route: Route | None = None) -> AsyncGenerator[RouterEvent, None]:
        """As `Provider.stream`, with a `Switched` and another `Started` for each target that failed.

        Joined, the deltas since the last `Restarted` are the text: no span comes twice. Raises `ProviderError`
        when nobody else could do better (after several failures the most telling one), and
        `NoProviderAvailable` when nobody may be asked now.
        """
        route = route or Route()
        run = Run(prompt, route, self._line(prompt, route))
        self._budget.request(_now())
        while True:
            admitted = await self._admit(run)
            try:
                async with aclosing(self._attempt(admitted, run)) as events:
                    async for event in events:
                        yield event
                return
            except ProviderError as fault:
                self._go_on_after(fault, run)
            finally:
                await admitted.leave()

    async def health(self) -> tuple[ProviderHealth, ...]:
        """Of every target, in order of preference; looked up now."""
        await self.look()
        unknown = "It did not say how it is."
        return tuple(
            target.health or ProviderHealth(provider=target.name, is_reachable=False, detail=unknown)
            for target in self.targets
        )

    async def look(self) -> None:
        """Ask every target how it is: what it can take is known from then on."""
        await asyncio.gather(*(target.look(timeout_seconds=_HEALTH_TIMEOUT_SECONDS) for target in self.targets))

    def _line(self, prompt: Prompt, route: Route) -> list[Target]:
        """Who is asked, best first. Raises `ProviderRequestInvalid`, `ContextTooLong`."""
        asked = route.strategy or self._policy.strategy
        strategy = self._strategies.get(asked)
        if strategy is None:
            raise ProviderRequestInvalid(f"There is no strategy {asked!r}.", provider="message-service")
        line: list[Target] = []
        for group in fitting(self._named(route.provider), prompt, most_dollars=self._policy.most_dollars):
            by_name = {target.name: target for target in group}
            candidates = [target.candidate(prompt, _now()) for target in group]
            line += (by_name[one.name] for one in in_tiers(candidates, strategy, prompt.cache_key))
        return line

    async def _admit(self, run: Run) -> Pass:
        """A pass to the best target that was not tried yet, in turn. Raises what to tell when there is none.

        A text that was shown goes on at once or not at all; everybody else waits for room until their deadline.
        """
        line = [target for target in run.line if target not in run.tried]
        wait_seconds = 0 if run.has_text else run.seconds_left()
        admitted = await self._gate.admit(line, rank=run.route.rank, wait_seconds=wait_seconds)
        if admitted is None and run.failures:
            raise run.told()
        if admitted is None:
            instead = self._gate.nobody(line, seconds_left=run.seconds_left())
            if not isinstance(instead, Pass):
                raise instead
            admitted = instead
        return admitted

    def _named(self, asked: str | None) -> Sequence[Target]:
        if asked is None:
            return self.targets
        wanted = [target for target in self.targets if is_of_family(target.name, asked)]
        if not wanted:
            names = ", ".join(target.name for target in self.targets)
            raise ProviderRequestInvalid(f"There is no provider {asked!r}; there are {names}.", provider=asked)
        return wanted

    async def _attempt(self, admitted: Pass, run: Run) -> AsyncGenerator[RouterEvent, None]:
        """Ask one target. Raises its `ProviderError`, or the one before where that is better left as it is."""
        target, prompt = admitted.target, run.prompt
        run.tried.append(target)
        shown: Fresh | Continued
        if self._take_over(run, target) is Verdict.CONTINUE:
            room = prompt.max_output_tokens - run.route.count_tokens(run.text)
            prompt = replace(prompt, prefill=run.text, max_output_tokens=max(1, room))
            shown = Continued(run, run.switch_to(target))
        else:
            for event in self._begin_again(run, target):
                yield event
            shown = Fresh(run)
        notes = Notes(target, prompt, _now, run.route.count_tokens)
        run.route.running.append(notes)
        try:
            async with aclosing(target.provider.stream(prompt)) as events:
                async for event in events:
                    if notes.see(event):
                        await admitted.first_text()
                    for passed_on in shown.take(event, _now()):
                        yield passed_on
            admitted.finished()
        except ProviderError as fault:
            notes.failed(fault)
            is_refused_here = isinstance(shown, Continued) and shown.is_refused
            if not is_refused_here and not _is_the_callers_model(fault, prompt):
                admitted.failed(fault, chance=self._dice.random())
                if BLAME.get(type(fault)) is not Blame.NONE:
                    target.disappointed()
            raise
        finally:
            run.route.running.remove(notes)
            run.route.attempts.append(notes.attempt())

    def _take_over(self, run: Run, target: Target) -> Verdict | None:
        """How `target` follows another, which counts as a failover; None when nothing was shown yet.

        Raises what to tell when the text is kept as it is, or when no failover is left.
        """
        verdict = self._verdict(run, target) if run.has_text else None
        if verdict is Verdict.KEEP or (run.failures and not self._budget.spend(_now())):
            run.is_over = True
            raise run.told()
        return verdict

    @staticmethod
    def _begin_again(run: Run, target: Target) -> list[RouterEvent]:
        events: list[RouterEvent] = []
        if run.has_text:
            events.append(Restarted(run.failures[-1].code))
            run.forget_text()
        if run.failures:
            events.append(run.switch_to(target))
        return events

    def _verdict(self, run: Run, target: Target) -> Verdict:
        capabilities = target.capabilities
        can_continue = (
            capabilities is not None
            and capabilities.can_prefill
            and may_go_on(run.prompt.model or capabilities.model, run.model)
        )
        return self._policy.failover.decide(
            Broken(
                tokens_shown=run.tokens_shown,
                seconds_shown=_now() - run.first_text_at,
                can_continue=can_continue,
                seconds_left=run.seconds_left(),
            )
        )

    def _go_on_after(self, fault: ProviderError, run: Run) -> None:
        """Return when another target may be asked. Raises what to tell otherwise."""
        if run.is_over or not fault.may_retry_elsewhere:
            raise fault
        if isinstance(fault, ContextTooLong) and not run.route.is_last_trim and not run.has_text:
            raise fault
        run.failures.append(fault)
        has_others = len(run.tried) < len(run.line) and len(run.failures) <= self._policy.most_switches
        if not has_others or not self._budget.has_one(_now()):
            raise run.told()


def is_of_family(name: str, asked: str) -> bool:
    """Whether `name` is `asked`, or one of its further instances: `lm_studio-2` is of the family `lm_studio`."""
    return re.fullmatch(rf"{re.escape(asked)}(-[0-9]+)?", name) is not None


def _is_the_callers_model(fault: ProviderError, prompt: Prompt) -> bool:
    """Whether the caller asked for a model that is not to be had, which must not close the target to others.

    Servers say so in many words, and by status: not paid for, not allowed, not there.
    """
    if prompt.model is None:
        return False
    return isinstance(fault, ModelUnavailable | ModelNotFound) or fault.status in (402, 403, 404)


def _now() -> float:
    return asyncio.get_running_loop().time()
