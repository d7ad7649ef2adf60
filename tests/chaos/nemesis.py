"""Makes faults by a schedule that the seed decides, and writes each down."""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tests.chaos.fault_kind import FaultKind
from tests.chaos.history import Fault, HistoryWriter
from tests.chaos.stack import Stack

SHORTEST_GAP_SECONDS = 0.3
LONGEST_GAP_SECONDS = 2.0
_MOST_SET_ASIDE = 20
_SECONDS_TO_COME_BACK = 20.0


@dataclass(frozen=True, slots=True)
class Planned:
    kind: FaultKind
    gap_seconds: float
    """Until the next one begins."""
    seconds: float
    dice_seed: int
    """Decides who is struck."""


def schedule(kinds: Sequence[FaultKind], seed: int, *, density: float = 1.0) -> Iterator[Planned]:
    """Without end. Every kind comes in each round, in an order of its own. `density` 2: twice as many faults."""
    dice = random.Random(f"nemesis {seed}")
    while True:
        deck = [kind for kind in kinds for _ in range(kind.share)]
        dice.shuffle(deck)
        for kind in deck:
            yield Planned(
                kind,
                dice.uniform(SHORTEST_GAP_SECONDS, LONGEST_GAP_SECONDS) / density,
                dice.uniform(*kind.seconds),
                dice.getrandbits(32),
            )


class Nemesis:
    """Faults of different groups may be there together, those of one group come one after the other."""

    def __init__(self, stack: Stack, history: HistoryWriter) -> None:
        self._stack = stack
        self._history = history
        self._busy: set[str] = set()
        self.made = 0

    async def run(self, planned: Iterator[Planned], *, seconds: float) -> None:
        """Until then; returns when the last fault is healed. Raises what a fault could not do."""
        loop = asyncio.get_running_loop()
        over_at = loop.time() + seconds
        set_aside: list[Planned] = []
        async with asyncio.TaskGroup() as under_way:
            while loop.time() < over_at:
                fault = self._next(planned, set_aside)
                if fault is None:
                    await asyncio.sleep(SHORTEST_GAP_SECONDS)
                    continue
                self._busy.add(fault.kind.group)
                under_way.create_task(self._make(fault))
                await asyncio.sleep(fault.gap_seconds)

    def _next(self, planned: Iterator[Planned], set_aside: list[Planned]) -> Planned | None:
        """The first whose group is free; those passed over come as soon as theirs is."""
        for fault in set_aside:
            if fault.kind.group not in self._busy:
                set_aside.remove(fault)
                return fault
        while len(set_aside) < _MOST_SET_ASIDE:
            fault = next(planned)
            if fault.kind.group not in self._busy:
                return fault
            set_aside.append(fault)
        return None

    async def _make(self, planned: Planned) -> None:
        kind = planned.kind
        try:
            began = time.monotonic()
            async with kind.strike(self._stack, random.Random(planned.dice_seed)) as target:
                fault = Fault(kind=kind.name, target=target, began=began)
                self._history.write(fault)
                await asyncio.sleep(planned.seconds)
            self.made += 1
            self._history.write(
                Fault(
                    kind=kind.name,
                    target=target,
                    began=began,
                    healed=time.monotonic(),
                    detail=f"{planned.seconds:.1f} s",
                )
            )
            if kind.is_heavy:
                with suppress(TimeoutError):
                    await self._stack.await_ready(seconds=_SECONDS_TO_COME_BACK)
            await asyncio.sleep(kind.rest_seconds)
        finally:
            self._busy.discard(kind.group)
