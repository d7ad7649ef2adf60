"""`stream`: a thousand replies of 20 tokens a second from a model server through worker, Redis and API to watchers."""

from bench.crowd import STREAMS, Crowd, run_crowd
from bench.figures import Figure, Target, at_most
from bench.scope import Scope
from bench.stack import open_stores, serve_ours, serve_upstream, work_ours

_TOKENS_PER_SECOND = 20
_REPLY_SECONDS = 20


def stream(scope: Scope) -> list[Figure]:
    with (
        open_stores() as stores,
        serve_upstream(tokens=_REPLY_SECONDS * _TOKENS_PER_SECOND, tokens_per_second=_TOKENS_PER_SECOND) as upstream,
        serve_ours(stores, settings=upstream.settings) as api,
        work_ours(stores, settings=upstream.settings) as worker_pid,
    ):
        crowds: list[Crowd] = []
        for round_number in range(scope.rounds):
            crowds.append(run_crowd(api, worker_pid, run=str(round_number), reply_seconds=_REPLY_SECONDS))
            scope.say(f"stream, round {round_number + 1}: {crowds[-1].whole} of {STREAMS} whole")
    ordered = [sorted(crowd.ages_ms) for crowd in crowds]
    rate = _TOKENS_PER_SECOND * STREAMS
    window_seconds = [len(crowd.ages_ms) / rate for crowd in crowds]
    return [
        _figure("replies not whole", "", [STREAMS - crowd.whole for crowd in crowds], at_most(0)),
        _figure("CPU of API and worker per token", "us", [crowd.cpu_us_per_token for crowd in crowds], at_most(60)),
        _figure("age of a token, p99", "ms", [ages[len(ages) * 99 // 100] for ages in ordered], at_most(500)),
        _figure("age of a token, p50", "ms", [ages[len(ages) // 2] for ages in ordered], None),
        _figure("tokens measured, in seconds of them", "s", window_seconds, None),
    ]


def _figure(name: str, unit: str, ours: list[float], target: Target | None) -> Figure:
    return Figure(benchmark="stream", name=name, unit=unit, ours=tuple(ours), target=target)
