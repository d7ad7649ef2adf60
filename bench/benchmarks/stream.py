"""`stream`: replies of 20 tokens a second from a model server to watchers, ours through worker, Redis and API.

A thousand at a time are ours. The peers, which only pass a completion on, get fewer, so that one core carries them.
"""

from collections.abc import Callable, Sequence

from bench.conversation import OnAges, complete
from bench.crowd import STREAMS, Crowd, TakePart, people_of, run_crowd
from bench.figures import Figure, Target, at_most
from bench.proxies import Proxy, serve_litellm, serve_openai_sdk
from bench.scope import Scope
from bench.stack import open_stores, serve_ours, serve_upstream, work_ours

_TOKENS_PER_SECOND = 20
_REPLY_SECONDS = 20
_PEER_STREAMS = {"LiteLLM": 20, "OpenAI SDK": 100}


def stream(scope: Scope) -> list[Figure]:
    ours: list[Crowd] = []
    peers: dict[str, list[Crowd]] = {name: [] for name in _PEER_STREAMS}
    with (
        open_stores() as stores,
        serve_upstream(tokens=_REPLY_SECONDS * _TOKENS_PER_SECOND, tokens_per_second=_TOKENS_PER_SECOND) as upstream,
        serve_litellm(upstream) as litellm,
        serve_openai_sdk(upstream) as openai_sdk,
        serve_ours(stores, settings=upstream.settings) as api,
        work_ours(stores, settings=upstream.settings) as worker_pid,
    ):
        for round_number in range(scope.rounds):
            people = people_of(api, str(round_number))
            ours.append(run_crowd(people, [*api.pids, worker_pid], streams=STREAMS, reply_seconds=_REPLY_SECONDS))
            _say(scope, round_number, "ours", ours[-1], STREAMS)
            for proxy in (litellm, openai_sdk):
                streams = _PEER_STREAMS[proxy.name]
                crowd = run_crowd(_clients_of(proxy), [proxy.pid], streams=streams, reply_seconds=_REPLY_SECONDS)
                peers[proxy.name].append(crowd)
                _say(scope, round_number, proxy.name, crowd, streams)
    return _figures(ours, peers)


def _clients_of(proxy: Proxy) -> TakePart:
    async def take_part(_: int, on_ages: OnAges) -> bool:
        seen = await complete(proxy.port, "Please tell me a long story.", key=proxy.key, on_ages=on_ages)
        return seen.tokens == _REPLY_SECONDS * _TOKENS_PER_SECOND

    return take_part


def _say(scope: Scope, round_number: int, name: str, crowd: Crowd, streams: int) -> None:
    scope.say(
        f"stream, {name}, round {round_number + 1}: {crowd.whole} of {streams} whole, "
        f"{crowd.cpu_us_per_token:.0f} us CPU a token, age p99 {crowd.age_ms(99):.0f} ms"
    )


def _figures(ours: Sequence[Crowd], peers: dict[str, list[Crowd]]) -> list[Figure]:
    window_seconds = tuple(len(crowd.ages_ms) / (_TOKENS_PER_SECOND * STREAMS) for crowd in ours)
    figures = [
        _alone("replies not whole", "", tuple(STREAMS - crowd.whole for crowd in ours), at_most(0)),
        _alone("tokens measured, in seconds of them", "s", window_seconds),
    ]
    measured: list[tuple[str, str, Callable[[Crowd], float], Target | None]] = [
        ("CPU per token", "us", lambda crowd: crowd.cpu_us_per_token, at_most(60)),
        ("age of a token, p99", "ms", lambda crowd: crowd.age_ms(99), at_most(500)),
        ("age of a token, p50", "ms", lambda crowd: crowd.age_ms(50), None),
    ]
    for name, unit, of, target in measured:
        for peer_name, crowds in peers.items():
            figures.append(
                Figure(
                    benchmark="stream",
                    name=f"{name} ({STREAMS:,} at a time against {_PEER_STREAMS[peer_name]})",
                    unit=unit,
                    ours=tuple(map(of, ours)),
                    peer_name=peer_name,
                    peer=tuple(map(of, crowds)),
                    target=target if peer_name == "LiteLLM" else None,
                )
            )
    return figures


def _alone(name: str, unit: str, ours: tuple[float, ...], target: Target | None = None) -> Figure:
    return Figure(benchmark="stream", name=name, unit=unit, ours=ours, target=target)
