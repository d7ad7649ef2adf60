"""Processes that die at a boundary: one at work, and one loaded and waiting to take its place."""

import itertools
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from tests.fixtures.service_processes import Process, Worker

Kind = TypeVar("Kind", bound=Process)
_SECONDS_TO_DIE = 20.0


class Victim(Generic[Kind]):
    def __init__(self, process: Kind, place: Path) -> None:
        self.process = process
        self._place = place

    def start(self) -> None:
        self._place.with_suffix(".go").touch()

    def die_at(self, boundary: str) -> None:
        """From now on boundaries are counted, and this one is the last."""
        # Renamed into its place: read half written it would name no boundary.
        draft = self._place.with_suffix(".draft")
        draft.write_text(boundary)
        draft.rename(self._place)

    def spare(self) -> None:
        self._place.unlink(missing_ok=True)
        self._place.with_suffix(".passed").unlink(missing_ok=True)

    def passed(self) -> list[str]:
        """The boundaries since it was told where to die."""
        return self._place.with_suffix(".passed").read_text().splitlines()

    async def dead(self) -> None:
        """Wait until it has killed itself."""
        code = await self.process.exited(seconds=_SECONDS_TO_DIE)
        assert code == -signal.SIGKILL, f"it ended with {code}:\n{self.process.log()}"


class Victims(Generic[Kind]):
    """`make` is `Api` or `Worker`, given a name, an environment, a folder and what Python is to run."""

    def __init__(self, make: Callable[..., Kind], environment: Mapping[str, str], folder: Path) -> None:
        self._make = make
        self._environment = environment
        self._folder = folder
        self._numbers = itertools.count(1)
        self.all: list[Kind] = []
        self._next = self._load()

    def take(self) -> Victim[Kind]:
        """One that starts at once; another begins to load."""
        taken, self._next = self._next, self._load()
        taken.start()
        return taken

    def _load(self) -> Victim[Kind]:
        name = f"victim-{next(self._numbers)}"
        place = self._folder / f"{name}.place"
        entry = ("-m", "tests.chaos.crashing", str(place))
        process = self._make(name, self._environment, self._folder, entry=entry)
        self.all.append(process)
        return Victim(process, place)


class Bench:
    """The worker at work. When it dies the next one takes its place, and is the next to die."""

    def __init__(self, victims: Victims[Worker]) -> None:
        self._victims = victims
        self.worker = victims.take()

    async def ready(self) -> Victim[Worker]:
        await self.worker.process.await_ready()
        return self.worker

    async def replace(self) -> tuple[Worker, float]:
        """The one that died, and when that was noticed."""
        dead = self.worker
        await dead.dead()
        self.next()
        return dead.process, time.monotonic()

    def next(self) -> None:
        """Another takes the place of one that has ended."""
        self.worker = self._victims.take()
