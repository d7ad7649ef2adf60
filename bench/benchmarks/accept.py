"""`accept` and `accept-alone`: `POST /v1/messages`, stored only and with a reply asked for, without any worker."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.figures import Figure, Target, at_least_times_peer, at_most_times_peer
from bench.load import Measured, Plan
from bench.scope import Scope
from bench.stack import Served, Stores, measure, open_stores, serve_floor, serve_ours
from bench.traffic import Traffic

_FLOOR = "floor"


@dataclass(frozen=True, slots=True)
class _Case:
    connections: int
    is_reply_asked: bool

    @property
    def label(self) -> str:
        what = "reply asked for" if self.is_reply_asked else "stored only"
        return f"{what}, {self.connections} connection{'s' if self.connections > 1 else ''}"


_THROUGHPUT_TARGETS = {32: at_least_times_peer(1.25), 128: at_least_times_peer(1.6)}


def accept(scope: Scope) -> list[Figure]:
    cases = [_Case(connections, is_reply_asked) for is_reply_asked in (False, True) for connections in (32, 128)]
    figures: list[Figure] = []
    for case, pairs in _compare("accept", cases, scope):
        figures += [
            _figure(
                "accept", case, "requests/s", "", pairs, "requests_per_second", _THROUGHPUT_TARGETS[case.connections]
            ),
            _figure("accept", case, "p99", "ms", pairs, "p99_ms", at_most_times_peer(1)),
            _figure("accept", case, "API CPU per request", "us", pairs, "server_cpu_us", None),
            _figure("accept", case, "store CPU per request", "us", pairs, "store_cpu_us", None),
        ]
    return figures


def accept_alone(scope: Scope) -> list[Figure]:
    cases = [_Case(1, is_reply_asked) for is_reply_asked in (False, True)]
    return [
        _figure("accept-alone", case, "p50", "ms", pairs, "p50_ms", at_most_times_peer(2.5))
        for case, pairs in _compare("accept-alone", cases, scope)
    ]


Pair = tuple[Measured, Measured]


def _compare(name: str, cases: Sequence[_Case], scope: Scope) -> list[tuple[_Case, list[Pair]]]:
    """Each case in each round: ours, then the floor. Rounds are outermost, so a slow minute meets every case."""
    found: list[tuple[_Case, list[Pair]]] = [(case, []) for case in cases]
    with open_stores() as stores, serve_ours(stores) as ours, serve_floor(stores) as floor:
        for round_number in range(scope.rounds):
            for case, pairs in found:
                run = f"{round_number}-{case.connections}-{int(case.is_reply_asked)}"
                pair = (
                    _run(case, run, ours, stores, scope, is_floor=False),
                    _run(case, run, floor, stores, scope, is_floor=True),
                )
                pairs.append(pair)
                scope.say(
                    f"{name}, {case.label}, round {round_number + 1}: "
                    f"{pair[0].requests_per_second:,.0f} against {pair[1].requests_per_second:,.0f} requests/s, "
                    f"load generator {pair[0].client_cpu_us:.0f} us CPU a request"
                )
    return found


def _run(case: _Case, run: str, served: Served, stores: Stores, scope: Scope, *, is_floor: bool) -> Measured:
    expected_status = 202 if case.is_reply_asked and not is_floor else 201
    return measure(
        Plan(
            port=served.port,
            connections=case.connections,
            warm_up_seconds=scope.warm_up_seconds,
            measure_seconds=scope.measure_seconds,
            traffic=Traffic(
                kind="create", run=run, expected_status=expected_status, is_reply_asked=case.is_reply_asked
            ),
            server_pids=served.pids,
            store_pids=stores.pids,
        )
    )


def _figure(
    benchmark: str, case: _Case, what: str, unit: str, pairs: Sequence[Pair], field: str, target: Target | None
) -> Figure:
    return Figure(
        benchmark=benchmark,
        name=f"{case.label}: {what}",
        unit=unit,
        ours=tuple(getattr(ours, field) for ours, _ in pairs),
        peer_name=_FLOOR,
        peer=tuple(getattr(peer, field) for _, peer in pairs),
        target=target,
    )
