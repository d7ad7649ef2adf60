"""`start`: `message-service dev` until it is ready, in a fresh data folder and in one it has used before."""

import tempfile
import time
from pathlib import Path

from bench.figures import Figure, at_most
from bench.processes import ServerProcess, free_port, script
from bench.scope import Scope
from bench.stack import clean_environment

_BOUND_SECONDS = 4


def start(scope: Scope) -> list[Figure]:
    fresh, again = [], []
    for round_number in range(scope.rounds):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            fresh.append(_seconds_until_ready(Path(folder)))
            again.append(_seconds_until_ready(Path(folder)))
        scope.say(f"start, round {round_number + 1}: {fresh[-1]:.1f} s, {again[-1]:.1f} s")
    return [
        Figure(benchmark="start", name=name, unit="s", ours=tuple(samples), target=at_most(_BOUND_SECONDS))
        for name, samples in (("dev in a fresh data folder", fresh), ("dev, second start", again))
    ]


def _seconds_until_ready(folder: Path) -> float:
    port = free_port()
    begun = time.monotonic()
    command = [script("message-service"), "dev", "--port", str(port), "--data-dir", str(folder)]
    with ServerProcess("message-service dev", command, clean_environment()) as everything:
        everything.wait_until_ready(f"http://127.0.0.1:{port}/health/ready")
        return time.monotonic() - begun
