"""Lets a request through to the first target in line that may be asked now, or says how long nobody may be.

Those who find all full wait in order of rank: room goes to the best of them that may use it, and to no newcomer.
"""

import asyncio
from collections.abc import Sequence
from itertools import count

from message_service.errors import NoProviderAvailable, ProviderError, ProviderRateLimited
from message_service.logs import log
from message_service.providers.routing.breaker import LASTING, Admission, BreakerState, Ejection
from message_service.providers.routing.shared import SharedBreakers
from message_service.providers.routing.target import Target
from message_service.providers.routing.waiting_line import Place, Rank, Standing, WaitingLine

_PROBED_ELSEWHERE_SECONDS = 0.5
_FULL_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 10.0
_LOOK_AGAIN_SECONDS = 0.25
"""Nobody says when a rest is over, a limit is forgotten or another worker found a target well."""


class Gate:
    """Breakers and concurrency limits of the targets. `shared` None: other workers are not asked."""

    def __init__(self, shared: SharedBreakers | None) -> None:
        self._shared = shared
        self._arrivals = count()
        self._waiting: WaitingLine[_Waiter] = WaitingLine()
        self._next_look: asyncio.TimerHandle | None = None

    async def admit(self, line: Sequence[Target], *, rank: Rank, wait_seconds: float) -> "Pass | None":
        """A pass to the first target in `line` that is well and has room, and that nobody with a better rank wants.

        While one is well but full it waits, up to `wait_seconds`. None: nobody may be asked, or it took too long.
        """
        place = rank, next(self._arrivals)
        ends_at = _now() + wait_seconds
        while True:
            if (admitted := await self._first(line, place)) is not None:
                return admitted
            seconds = ends_at - _now()
            if seconds <= 0 or not any(target.admission(_now()) is Admission.PASS for target in line):
                return None
            if (handed := await self._wait(_Waiter(place, line), seconds)) is not None:
                return handed

    async def _first(self, line: Sequence[Target], place: Place) -> "Pass | None":
        for target in line:
            standing = _standing(target)
            if standing in (Standing.ROOM, Standing.TRIAL) and self._waiting.goes_first(place, target):
                if standing is Standing.ROOM:
                    return Pass(target, self, is_probe=False)
                if await self._take_probe(target):
                    return Pass(target, self, is_probe=True)
        return None

    async def _wait(self, waiter: "_Waiter", seconds: float) -> "Pass | None":
        """The pass that it is handed. None when it has to look again for itself, or after `seconds`."""
        self._waiting.join(waiter)
        if any(_standing(target) is Standing.ROOM for target in waiter.wanted):
            # Nobody was told of this room, or somebody was who left without taking it.
            self._look()
        self._look_later()
        try:
            async with asyncio.timeout(seconds):
                return await waiter.turn
        except BaseException as fault:
            # It may have been handed a pass just before: that is the next one's.
            if waiter.turn.done() and not waiter.turn.cancelled() and (handed := waiter.turn.result()) is not None:
                handed.give_up()
            if isinstance(fault, TimeoutError):
                return None
            raise
        finally:
            self._waiting.leave(waiter)

    def _look(self) -> None:
        """See to it that nobody waits who need not."""
        for waiter, target in self._waiting.turns(_standing):
            if not waiter.turn.done():
                waiter.turn.set_result(None if target is None else Pass(target, self, is_probe=False))

    def _look_later(self) -> None:
        if self._next_look is None:
            self._next_look = asyncio.get_running_loop().call_later(_LOOK_AGAIN_SECONDS, self._look_while_some_wait)

    def _look_while_some_wait(self) -> None:
        self._next_look = None
        self._look()
        if self._waiting:
            self._look_later()

    def nobody(self, line: Sequence[Target], *, seconds_left: float) -> "ProviderError | Pass":
        """What to do when nobody in `line` may be asked.

        The failure itself, when all wait for a person; a pass to the one that opens first, when the reply cannot
        wait for it, so that nothing fails without having been tried; else for how long to wait.
        """
        at = _now()
        if any(target.admission(at) is Admission.PASS for target in line):
            return NoProviderAvailable(
                "Every provider is busy.", provider=line[0].name, retry_after_seconds=_FULL_SECONDS
            )
        opened = [_open_ejection(target, at) for target in line]
        reasons = [ejection.reason for ejection in opened if ejection is not None and ejection.reason in LASTING]
        if len(reasons) == len(line):
            kind = next(kind for kind in ProviderError.__subclasses__() if kind.code == reasons[0])
            return kind(provider=line[0].name)
        first = min(line, key=lambda target: _opens_at(target, at))
        wait_seconds = max(0.1, _opens_at(first, at) - at)
        if wait_seconds >= seconds_left and first.breaker and first.breaker.state(at) is BreakerState.OPEN:
            return Pass(first, self, is_probe=False)
        # Not too long: another worker's probe, or a new worker, may find out earlier that a target is well.
        wait_seconds = min(wait_seconds, _LONGEST_WAIT_SECONDS)
        return NoProviderAvailable(provider=first.name, retry_after_seconds=wait_seconds)

    def left(self, target: Target) -> None:
        """Somebody left `target`: its room goes to whoever comes next of those who wait for it."""
        while self._waiting and _standing(target) is Standing.ROOM:
            waiter = self._waiting.next_for(target)
            if waiter is None:
                return
            if not waiter.turn.done():
                waiter.turn.set_result(Pass(target, self, is_probe=False))

    def changed(self) -> None:
        if self._shared is not None:
            self._shared.tell()

    async def probe_is_over(self, target: Target) -> None:
        target.is_probing = False
        if self._shared is not None:
            await self._shared.release_probe(target)
        self._look()

    async def _take_probe(self, target: Target) -> bool:
        at = _now()
        target.is_probing = True
        is_taken = False
        try:
            is_taken = self._shared is None or await self._shared.take_probe(target)
        finally:
            if not is_taken:
                target.is_probing = False
                target.not_probed_before = at + _PROBED_ELSEWHERE_SECONDS
        return is_taken


class _Waiter:
    """Somebody who waits for their `turn`: a pass, or None when they have to look for themselves."""

    def __init__(self, place: Place, wanted: Sequence[Target]) -> None:
        self.place = place
        self.wanted = wanted
        self.turn: asyncio.Future[Pass | None] = asyncio.get_running_loop().create_future()


class Pass:
    """The right to ask a target once, and the duty to say what came of it. Ends with `leave`."""

    def __init__(self, target: Target, gate: Gate, *, is_probe: bool) -> None:
        self.target = target
        self._gate = gate
        self._is_probe = is_probe
        self._asked_at = _now()
        # From the moment of the choice, so that choices made at the same time see one another.
        target.in_flight += 1

    async def first_text(self) -> None:
        if self._is_probe and self.target.breaker is not None:
            self.target.breaker.succeeded(_now(), is_probe=True)
            await self._end_probe()

    def finished(self) -> None:
        if self.target.breaker is not None:
            self.target.breaker.succeeded(_now(), is_probe=False)
            self.target.learnt.answered(_now(), in_flight=self.target.in_flight)
            self._gate.changed()

    def failed(self, error: ProviderError, *, chance: float) -> None:
        if self.target.breaker is not None:
            if isinstance(error, ProviderRateLimited):
                self.target.learnt.refused(_now(), asked_at=self._asked_at, in_flight=self.target.in_flight)
            was = self.target.breaker.ejection
            self.target.breaker.failed(error, _now(), is_probe=self._is_probe, chance=chance)
            self._gate.changed()
            if (ejection := self.target.breaker.ejection) is not None and ejection is not was:
                _log(self.target, ejection, error)

    async def leave(self) -> None:
        self.give_up()
        await self._end_probe()

    def give_up(self) -> None:
        """Leave, where no probe is to be ended."""
        self.target.in_flight -= 1
        self._gate.left(self.target)

    async def _end_probe(self) -> None:
        if self._is_probe:
            self._is_probe = False
            await self._gate.probe_is_over(self.target)


def _log(target: Target, ejection: Ejection, error: ProviderError) -> None:
    if ejection.is_pause:
        return
    told = log.error if ejection.reason in LASTING else log.warning
    told(
        "provider.left_alone",
        provider=target.name,
        host=target.host,
        reason=ejection.reason,
        seconds=round(ejection.ends_at - _now(), 1),
        detail=error.detail,
    )


def _now() -> float:
    return asyncio.get_running_loop().time()


def _standing(target: Target) -> Standing:
    at = _now()
    match target.admission(at):
        case Admission.PASS:
            limit = target.most_in_flight(at)
            return Standing.ROOM if limit is None or target.in_flight < limit else Standing.FULL
        case Admission.PROBE if not target.is_probing and at >= target.not_probed_before:
            return Standing.TRIAL
    return Standing.AWAY


def _open_ejection(target: Target, at: float) -> Ejection | None:
    """None when it is well, and when somebody finds out whether it is."""
    breaker = target.breaker
    return breaker.ejection if breaker is not None and breaker.state(at) is BreakerState.OPEN else None


def _opens_at(target: Target, at: float) -> float:
    if target.breaker is None or target.breaker.ejection is None:
        return at
    return max(target.breaker.ejection.ends_at, target.not_probed_before)
