"""`first-token`: from sending a message to the first text of its reply, less what the model server takes itself."""

import asyncio
import random
import statistics
from collections.abc import Awaitable, Callable

import uvloop

from bench.conversation import ask_and_watch, ask_upstream
from bench.figures import Figure, at_most_above_peer
from bench.scope import Scope
from bench.stack import Served, Upstream, open_stores, serve_ours, serve_upstream, work_ours

_TOKENS, _TOKENS_PER_SECOND = 20, 20
_BOUND_MS = {1: 15.0, 50: 40.0}
_ASKED_BY_EACH = {1: 5, 50: 5}

Ask = Callable[[str], Awaitable[float]]
"""Takes a user's name; answers the milliseconds until the first text."""


def first_token(scope: Scope) -> list[Figure]:
    found: dict[int, tuple[list[float], list[float]]] = {clients: ([], []) for clients in _BOUND_MS}
    at_once: list[float] = []
    with (
        open_stores() as stores,
        serve_upstream(tokens=_TOKENS, tokens_per_second=_TOKENS_PER_SECOND) as upstream,
        serve_ours(stores, settings=upstream.settings) as api,
        work_ours(stores, settings=upstream.settings),
    ):
        for round_number in range(scope.rounds):
            for clients, (through, direct) in found.items():
                through.append(_median(clients, f"{round_number}-{clients}", _through(api)))
                direct.append(_median(clients, f"{round_number}-{clients}", _direct(upstream)))
            at_once.append(statistics.median(uvloop.run(_burst(50, f"{round_number}-burst", _through(api)))))
            scope.say(f"first-token, round {round_number + 1} done")
    figures = [
        Figure(
            benchmark="first-token",
            name=f"{clients} at a time: p50",
            unit="ms",
            ours=tuple(through),
            peer_name="upstream alone",
            peer=tuple(direct),
            target=at_most_above_peer(_BOUND_MS[clients]),
        )
        for clients, (through, direct) in found.items()
    ]
    return [
        *figures,
        Figure(benchmark="first-token", name="50 in the same instant: p50", unit="ms", ours=tuple(at_once)),
    ]


def _through(api: Served) -> Ask:
    async def ask(user: str) -> float:
        watched = await ask_and_watch(api, user, "Good morning! What shall we do today?")
        if not watched.is_whole:
            raise RuntimeError(f"a reply ended with {watched.ended_with!r} and is not what was streamed")
        return watched.first_token_ms

    return ask


def _direct(upstream: Upstream) -> Ask:
    async def ask(_: str) -> float:
        return await ask_upstream(upstream.port, "Good morning! What shall we do today?")

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
