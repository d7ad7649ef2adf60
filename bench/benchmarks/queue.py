"""`queue`: from asking for a reply until a worker has it, at a steady rate; and a backlog worked off."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure, Target, at_least_times_peer, at_most
from bench.queues import Drained, OurQueue, PeerQueue, QueueSide
from bench.scope import Scope
from bench.stack import open_stores, serve_ours

PEERS = ("taskiq", "arq", "streaq")
_PER_SECOND = 100
_BOUND_MS = 10
_BACKLOG = 2000


@dataclass(frozen=True, slots=True)
class _Round:
    delays_ms: list[float]
    """Sorted."""
    drained: Drained

    def percentile(self, percent: int) -> float:
        return self.delays_ms[min(len(self.delays_ms) - 1, len(self.delays_ms) * percent // 100)]


def queue(scope: Scope) -> list[Figure]:
    found: dict[str, list[_Round]] = {}
    with open_stores() as stores, serve_ours(stores) as api, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        sides: list[QueueSide] = [OurQueue(stores, api)]
        sides += [PeerQueue(name, stores, Path(folder)) for name in PEERS]
        for round_number in range(scope.rounds):
            for side in sides:
                each = _measure(side, str(round_number), scope)
                found.setdefault(side.name, []).append(each)
                scope.say(
                    f"queue, {side.name}, round {round_number + 1}: p50 {each.percentile(50):.1f} ms, "
                    f"{each.drained.per_second:,.0f}/s, worker {each.drained.worker_cpu_us:,.0f} us, "
                    f"stores {each.drained.store_cpu_us:,.0f} us"
                )
    ours = found.pop("ours")
    return [figure for peer_name, peer in found.items() for figure in _figures(ours, peer_name, peer, found)]


def _measure(side: QueueSide, run: str, scope: Scope) -> _Round:
    warm_up = int(scope.warm_up_seconds * _PER_SECOND)
    count = warm_up + int(scope.measure_seconds * _PER_SECOND)
    delays = side.pace(run, per_second=_PER_SECOND, count=count)[warm_up:]
    return _Round(sorted(delays), side.drain(run, count=_BACKLOG))


def _figures(
    ours: Sequence[_Round], peer_name: str, peer: Sequence[_Round], all_peers: dict[str, list[_Round]]
) -> list[Figure]:
    is_first = peer_name == PEERS[0]
    is_slowest = peer_name == min(all_peers, key=lambda name: sum(each.drained.per_second for each in all_peers[name]))

    def figure(name: str, unit: str, of: Callable[[_Round], float], target: Target | None = None) -> Figure:
        return Figure(
            benchmark="queue",
            name=name,
            unit=unit,
            ours=tuple(map(of, ours)),
            peer_name=peer_name,
            peer=tuple(map(of, peer)),
            target=target,
        )

    return [
        figure(
            f"asked for until started, {_PER_SECOND}/s: p50",
            "ms",
            lambda each: each.percentile(50),
            at_most(_BOUND_MS) if is_first else None,
        ),
        figure(f"asked for until started, {_PER_SECOND}/s: p99", "ms", lambda each: each.percentile(99)),
        figure(
            f"backlog of {_BACKLOG:,}: done",
            "/s",
            lambda each: each.drained.per_second,
            at_least_times_peer(1) if is_slowest else None,
        ),
        figure("worker CPU for each", "us", lambda each: each.drained.worker_cpu_us),
        figure("store CPU for each", "us", lambda each: each.drained.store_cpu_us),
    ]
