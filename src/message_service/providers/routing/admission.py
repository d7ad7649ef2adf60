"""Lets a request through to the first target in line that may be asked now, or says how long nobody may be."""

import asyncio
from collections.abc import Sequence

from message_service.errors import NoProviderAvailable, ProviderError, ProviderRateLimited
from message_service.logs import log
from message_service.providers.routing.breaker import LASTING, Admission, BreakerState, Ejection
from message_service.providers.routing.shared import SharedBreakers
from message_service.providers.routing.target import Target

_PROBED_ELSEWHERE_SECONDS = 0.5
_FULL_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 10.0


class Gate:
    """Breakers and concurrency limits of the targets. `shared` None: other workers are not asked."""

    def __init__(self, shared: SharedBreakers | None) -> None:
        self._shared = shared
        self._has_room = asyncio.Event()

    async def admit(self, line: Sequence[Target]) -> "Pass | None":
        """A pass to the first target in `line` that is well and has room; None when there is none now."""
        for target in line:
            at = _now()
            match target.admission(at):
                case Admission.PASS if not _is_full(target):
                    return Pass(target, self, is_probe=False)
                case Admission.PROBE if await self._take_probe(target, at):
                    return Pass(target, self, is_probe=True)
        return None

    async def wait_for_room(self, line: Sequence[Target], *, seconds: float) -> bool:
        """Wait until a target that is well, but full, has room again. False: none is, or it took too long."""
        if seconds <= 0 or not any(target.admission(_now()) is Admission.PASS for target in line):
            return False
        self._has_room.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._has_room.wait()
        except TimeoutError:
            return False
        return True

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

    def left(self) -> None:
        """Somebody left a target."""
        self._has_room.set()

    def changed(self) -> None:
        if self._shared is not None:
            self._shared.tell()

    async def probe_is_over(self, target: Target) -> None:
        target.is_probing = False
        if self._shared is not None:
            await self._shared.release_probe(target)

    async def _take_probe(self, target: Target, at: float) -> bool:
        if target.is_probing or at < target.not_probed_before:
            return False
        target.is_probing = True
        is_taken = False
        try:
            is_taken = self._shared is None or await self._shared.take_probe(target)
        finally:
            if not is_taken:
                target.is_probing = False
                target.not_probed_before = at + _PROBED_ELSEWHERE_SECONDS
        return is_taken


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
        self.target.in_flight -= 1
        self._gate.left()
        await self._end_probe()

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


def _is_full(target: Target) -> bool:
    limit = target.most_in_flight(_now())
    return limit is not None and target.in_flight >= limit


def _open_ejection(target: Target, at: float) -> Ejection | None:
    """None when it is well, and when somebody finds out whether it is."""
    breaker = target.breaker
    return breaker.ejection if breaker is not None and breaker.state(at) is BreakerState.OPEN else None


def _opens_at(target: Target, at: float) -> float:
    if target.breaker is None or target.breaker.ejection is None:
        return at
    return max(target.breaker.ejection.ends_at, target.not_probed_before)
