"""The orders in which targets of one tier are asked. Each strategy is one small class, and `STRATEGIES` names them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from random import Random
from typing import Protocol

from message_service.providers.routing.candidate import Candidate
from message_service.providers.routing.rendezvous import by_affinity
from message_service.setting_types import StrategyName

BOUNDED_LOAD = 1.25
"""A target may have so many times its fair share before conversations spill over from it."""


class Strategy(Protocol):
    def order(self, candidates: Sequence[Candidate], key: str) -> list[Candidate]:
        """All of `candidates`, best first. `key` is alike for all replies of a conversation; empty when unknown."""
        ...


class Affinity:
    """The same conversation to the same target, where the beginning of its prompt is still in the cache.

    Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2016) over rendezvous hashes: whoever
    is full, or has more than 1.25 of its share, comes after the others, which are asked least loaded first.
    """

    def order(self, candidates: Sequence[Candidate], key: str) -> list[Candidate]:
        if not key:
            return list(candidates)
        in_flight = sum(candidate.in_flight for candidate in candidates) + 1
        bound = ceil(BOUNDED_LOAD * in_flight / max(1, len(candidates)))
        home, *others = by_affinity(candidates, key)
        if home.in_flight < bound and not home.is_full:
            return [home, *others]
        return sorted([home, *others], key=lambda candidate: (candidate.is_full, candidate.load))


class Priority:
    """Families in the order they are configured in; the instances of one family by affinity."""

    def __init__(self) -> None:
        self._within = Affinity()

    def order(self, candidates: Sequence[Candidate], key: str) -> list[Candidate]:
        families: dict[str, list[Candidate]] = {}
        for candidate in candidates:
            families.setdefault(candidate.family, []).append(candidate)
        return [candidate for family in families.values() for candidate in self._within.order(family, key)]


class RoundRobin:
    """Each in turn. Every tier has turns of its own, and so has every choice of targets that a prompt leaves."""

    def __init__(self) -> None:
        self._turns: Counter[tuple[str, ...]] = Counter()

    def order(self, candidates: Sequence[Candidate], key: str) -> list[Candidate]:  # noqa: ARG002 - all are called alike
        if not candidates:
            return []
        names = tuple(candidate.name for candidate in candidates)
        start = self._turns[names] % len(candidates)
        self._turns[names] += 1
        return [*candidates[start:], *candidates[:start]]


class Weighted:
    """At random, each as often as its weight says; weight 0 comes after all others."""

    def __init__(self, dice: Random) -> None:
        self._dice = dice

    def order(self, candidates: Sequence[Candidate], key: str) -> list[Candidate]:  # noqa: ARG002 - all are called alike
        # Weighted sampling without replacement (Efraimidis and Spirakis 2006).
        return sorted(
            candidates,
            key=lambda one: self._dice.random() ** (1 / one.weight) if one.weight > 0 else -1.0,
            reverse=True,
        )


class Latency:
    """The less loaded of two taken at random, so that not everybody runs to the fastest; the others by load."""

    def __init__(self, dice: Random) -> None:
        self._dice = dice

    def order(self, candidates: Sequence[Candidate], key: str) -> list[Candidate]:  # noqa: ARG002 - all are called alike
        by_load = sorted(candidates, key=lambda candidate: candidate.load)
        if len(by_load) <= 2:
            return by_load
        first = by_load[min(self._dice.sample(range(len(by_load)), 2))]
        return [first, *(candidate for candidate in by_load if candidate is not first)]


class Cost:
    """The cheapest first, among equals the less loaded; unknown prices last."""

    def order(self, candidates: Sequence[Candidate], key: str) -> list[Candidate]:  # noqa: ARG002 - all are called alike
        return sorted(
            candidates,
            key=lambda one: (one.price is None, one.price or 0.0, one.load),
        )


STRATEGIES: Mapping[StrategyName, Callable[[Random], Strategy]] = {
    "priority": lambda _: Priority(),
    "round_robin": lambda _: RoundRobin(),
    "weighted": Weighted,
    "latency": Latency,
    "cost": lambda _: Cost(),
    "affinity": lambda _: Affinity(),
}


def in_tiers(candidates: Sequence[Candidate], strategy: Strategy, key: str) -> list[Candidate]:
    """Tier by tier, each in the strategy's order."""
    tiers: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        tiers.setdefault(candidate.tier, []).append(candidate)
    return [candidate for number in sorted(tiers) for candidate in strategy.order(tiers[number], key)]
