"""Who waits for room at a target, best rank first. Pure: how targets stand is given to it, and it knows no clock."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar

from message_service.providers.routing.target import Target

Rank = tuple[int, str]
"""Who is served first: the smaller one. Whoever gives it knows what it means."""
Place = tuple[Rank, int]
"""A rank, and a number that rises with each arrival: of equal ranks the first to come is served first."""


class Standing(Enum):
    """What a target has for the next who asks."""

    ROOM = auto()
    FULL = auto()
    """It is well, and will have room."""
    TRIAL = auto()
    """One request may find out whether it is well."""
    AWAY = auto()


class Waiting(Protocol):
    @property
    def place(self) -> Place: ...

    @property
    def wanted(self) -> Sequence[Target]:
        """Who may be asked, best first."""


Waiter = TypeVar("Waiter", bound=Waiting)


class WaitingLine(Generic[Waiter]):
    """In order of place. A worker has a thousand in it at most, so that a list that is kept sorted is fast enough."""

    def __init__(self) -> None:
        self._in_order: list[Waiter] = []

    def __len__(self) -> int:
        return len(self._in_order)

    def join(self, waiter: Waiter) -> None:
        insort(self._in_order, waiter, key=_place)

    def leave(self, waiter: Waiter) -> None:
        """Nothing happens when it is not in the line."""
        index = bisect_left(self._in_order, waiter.place, key=_place)
        if index < len(self._in_order) and self._in_order[index] is waiter:
            del self._in_order[index]

    def next_for(self, target: Target) -> Waiter | None:
        """The first that wants `target`, taken out of the line."""
        for index, waiter in enumerate(self._in_order):
            if target in waiter.wanted:
                return self._in_order.pop(index)
        return None

    def goes_first(self, place: Place, target: Target) -> bool:
        """Whether nobody who wants `target` is before `place`."""
        for waiter in self._in_order:
            if place < waiter.place:
                return True
            if target in waiter.wanted:
                return False
        return True

    def turns(self, stands: Callable[[Target], Standing]) -> Iterator[tuple[Waiter, Target | None]]:
        """Everybody who need not wait any longer, first places first, each taken out of the line.

        With the target that has room for it: the receiver takes that room, or leaves it to the next. With None
        whoever has to look for itself, because it may find out whether a target is well, or because none is.
        """
        known: dict[Target, Standing] = {}
        for waiter in tuple(self._in_order):
            target, standing = _best(waiter.wanted, known, stands)
            if standing is Standing.FULL:
                continue
            self.leave(waiter)
            if standing is Standing.ROOM:
                yield waiter, target
                # Whether there is more depends on what became of this.
                del known[target]
            else:
                if standing is Standing.TRIAL:
                    known[target] = Standing.AWAY
                yield waiter, None


def _best(
    wanted: Sequence[Target], known: dict[Target, Standing], stands: Callable[[Target], Standing]
) -> tuple[Target, Standing]:
    """The first that can be asked now, else one that will have room, else one that is away."""
    best = wanted[0], Standing.AWAY
    for target in wanted:
        standing = known.get(target)
        if standing is None:
            standing = known[target] = stands(target)
        if standing in (Standing.ROOM, Standing.TRIAL):
            return target, standing
        if standing is Standing.FULL:
            best = target, standing
    return best


def _place(waiter: Waiting) -> Place:
    return waiter.place
