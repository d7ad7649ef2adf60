"""`first-token`: from sending a message to the first text of its reply, less what the model server takes itself."""

import asyncio
import random
import statistics
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence

import uvloop

from bench.conversation import ask_and_watch, complete
from bench.figures import Figure, at_most_above_peer
from bench.proxies import serve_litellm, serve_openai_sdk
from bench.scope import Scope
from bench.stack import Served, open_stores, serve_ours, serve_upstream, work_ours

_TOKENS, _TOKENS_PER_SECOND = 20, 20
_BOUND_MS = {1: 15.0, 50: 40.0}
_ASKED_BY_EACH = {1: 5, 50: 5}

_OURS, _DIRECT = "ours", "upstream alone"

Ask = Callable[[str], Awaitable[float]]
"""Takes a user's name; answers the milliseconds until the first text."""


def first_token(scope: Scope) -> list[Figure]:
    found: dict[int, dict[str, list[float]]] = {clients: defaultdict(list) for clients in _BOUND_MS}
    at_once: list[float] = []
    with (
        open_stores() as stores,
        serve_upstream(tokens=_TOKENS, tokens_per_second=_TOKENS_PER_SECOND) as upstream,
        serve_litellm(upstream) as litellm,
        serve_openai_sdk(upstream) as openai_sdk,
        serve_ours(stores, settings=upstream.settings) as api,
        work_ours(stores, settings=upstream.settings),
    ):
        sides = {
            _OURS: _through(api),
            _DIRECT: _completing(upstream.port),
            litellm.name: _completing(litellm.port, litellm.key),
            openai_sdk.name: _completing(openai_sdk.port),
        }
        for round_number in range(scope.rounds):
            for clients, samples in found.items():
                for name, ask in sides.items():
                    samples[name].append(_median(clients, f"{round_number}-{clients}", ask))
                    scope.say(f"first-token, {clients} at a time, {name}: {samples[name][-1]:.1f} ms")
            at_once.append(statistics.median(uvloop.run(_burst(50, f"{round_number}-burst", _through(api)))))
    return [
        *(figure for clients, samples in found.items() for figure in _figures(clients, samples)),
        Figure(benchmark="first-token", name="50 in the same instant: p50", unit="ms", ours=tuple(at_once)),
    ]


def _figures(clients: int, samples: Mapping[str, Sequence[float]]) -> list[Figure]:
    """Ours against the model server alone; then what we add against what the others add."""

    def added(name: str) -> tuple[float, ...]:
        return tuple(through - direct for through, direct in zip(samples[name], samples[_DIRECT], strict=True))

    return [
        Figure(
            benchmark="first-token",
            name=f"{clients} at a time: p50",
            unit="ms",
            ours=tuple(samples[_OURS]),
            peer_name=_DIRECT,
            peer=tuple(samples[_DIRECT]),
            target=at_most_above_peer(_BOUND_MS[clients]),
        ),
        *(
            Figure(
                benchmark="first-token",
                name=f"{clients} at a time: p50 added",
                unit="ms",
                ours=added(_OURS),
                peer_name=name,
                peer=added(name),
            )
            for name in samples
            if name not in (_OURS, _DIRECT)
        ),
    ]


def _through(api: Served) -> Ask:
    async def ask(user: str) -> float:
        watched = await ask_and_watch(api, user, "Good morning! What shall we do today?")
        if not watched.is_whole:
            raise RuntimeError(f"a reply ended with {watched.ended_with!r} and is not what was streamed")
        return watched.first_token_ms

    return ask


def _completing(port: int, key: str = "none") -> Ask:
    async def ask(_: str) -> float:
        return (await complete(port, "Good morning! What shall we do today?", key=key)).first_token_ms

    return ask


def _median(clients: int, run: str, ask: Ask) -> float:
    return statistics.median(uvloop.run(_steady(clients, run, ask)))


async def _steady(clients: int, run: str, ask: Ask) -> list[float]:
    """Each client asks again when its reply has ended; a random pause keeps them from falling into step."""
    pause = random.Random(run)

    async def chat(number: int) -> list[float]:
        samples = []
        for _ in range(_ASKED_BY_EACH[clients] + 1):
            await asyncio.sleep(pause.random() * _TOKENS / _TOKENS_PER_SECOND if clients > 1 else 0)
            samples.append(await ask(f"first-{run}-{number}"))
        return samples[1:]

    return [sample for samples in await asyncio.gather(*map(chat, range(clients))) for sample in samples]


async def _burst(clients: int, run: str, ask: Ask) -> list[float]:
    return await asyncio.gather(*(ask(f"burst-{run}-{number}") for number in range(clients)))
