"""`memory`: API and worker with nothing to do, and with a thousand streams in flight."""

import time

import uvloop

from bench.conversation import ask_and_watch
from bench.crowd import STREAMS, people_of, run_crowd
from bench.figures import Figure, at_most
from bench.processes import memory_megabytes
from bench.scope import Scope
from bench.stack import open_stores, serve_ours, serve_upstream, work_ours

_TOKENS_PER_SECOND = 20
_REPLY_SECONDS = 12
_SETTLING_SECONDS = 2


def memory(scope: Scope) -> list[Figure]:
    """Every round has processes of its own: memory once taken is seldom given back."""
    idle, loaded = [], []
    for round_number in range(scope.rounds):
        with (
            open_stores() as stores,
            serve_upstream(
                tokens=_REPLY_SECONDS * _TOKENS_PER_SECOND, tokens_per_second=_TOKENS_PER_SECOND
            ) as upstream,
            serve_ours(stores, settings=upstream.settings) as api,
            work_ours(stores, settings=upstream.settings) as worker_pid,
        ):
            # What is loaded at first use is loaded in any process that has ever worked.
            uvloop.run(ask_and_watch(api, "first", "Hello!"))
            time.sleep(_SETTLING_SECONDS)
            idle.append(memory_megabytes([*api.pids, worker_pid]))
            crowd = run_crowd(
                people_of(api, "memory"), [*api.pids, worker_pid], streams=STREAMS, reply_seconds=_REPLY_SECONDS
            )
            loaded.append(crowd.memory_megabytes)
        scope.say(f"memory, round {round_number + 1}: {idle[-1]:.0f} MB, {loaded[-1]:.0f} MB")
    return [
        Figure(benchmark="memory", name="API and worker, idle", unit="MB", ours=tuple(idle), target=at_most(250)),
        Figure(
            benchmark="memory",
            name=f"API and worker, {STREAMS:,} streams in flight",
            unit="MB",
            ours=tuple(loaded),
            target=at_most(450),
        ),
    ]
