"""`python -m tests.chaos.crashing FILE serve|work`: the ordinary command, in a process that dies where it is told.

A boundary is a point before or after one command to a store, counted over one flow: `before insert messages`,
`after commitTransaction`, `before findAndModify replies 2`. The process kills itself at the boundary that stands in
FILE; without FILE it works on as ever. Each boundary passed is added to FILE.passed. With all its code loaded it
waits for FILE.go before it starts.
"""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from pymongo import monitoring
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from message_service.cli.main import main
from message_service.work.queue import WorkQueue

_SLOW_TO_LOAD = ("message_service.api.server", "message_service.providers.lm_studio")
_PAUSE_SECONDS = 0.02
_ENDS = {"commitTransaction", "abortTransaction"}


class Crasher:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._passed = file.with_suffix(".passed")
        self._counts: Counter[str] = Counter()

    @property
    def may_start(self) -> bool:
        return self._file.with_suffix(".go").exists()

    def pass_by(self, boundary: str) -> None:
        """Die here if this is the place. The flow, and with it the counting, begins when FILE appears."""
        try:
            place = self._file.read_text()
        except FileNotFoundError:
            self._counts.clear()
            return
        self._counts[boundary] += 1
        count = self._counts[boundary]
        name = boundary if count == 1 else f"{boundary} {count}"
        with self._passed.open("a") as passed:
            passed.write(f"{name}\n")
        if name == place:
            os.kill(os.getpid(), signal.SIGKILL)


class CommandBoundaries(CommandListener):
    """`started` comes before the command is on its way, `succeeded` after it was answered."""

    def __init__(self, crasher: Crasher) -> None:
        self._crasher = crasher
        self._names: dict[int, str] = {}

    def started(self, event: CommandStartedEvent) -> None:
        name = name_of(event.command)
        if name is not None:
            self._names[event.request_id] = name
            self._crasher.pass_by(f"before {name}")

    def succeeded(self, event: CommandSucceededEvent) -> None:
        name = self._names.pop(event.request_id, None)
        if name is not None:
            self._crasher.pass_by(f"after {name}")

    def failed(self, event: CommandFailedEvent) -> None:
        self._names.pop(event.request_id, None)


def name_of(command: Any) -> str | None:
    """What the command does, in two words; None for what is no part of a flow: sweeps, pings and index builds."""
    verb = next(iter(command))
    if verb in _ENDS:
        return str(verb)
    if verb == "find" and command.get("autocommit") is None and command["find"] in ("replies", "conversations"):
        return None  # a sweep's, at whatever moment its time comes
    if verb in ("find", "insert", "update", "findAndModify"):
        return f"{verb} {command[verb]}"
    return None


def watch_queue(crasher: Crasher) -> None:
    """The commands to Redis that announce and settle work are boundaries too."""
    add_all, remove_all = WorkQueue._add_all, WorkQueue._remove_all

    async def adding(queue: WorkQueue, items: Sequence[Any]) -> Sequence[None]:
        crasher.pass_by("before announcement")
        answers = await add_all(queue, items)
        crasher.pass_by("after announcement")
        return answers

    async def removing(queue: WorkQueue, items: Sequence[Any]) -> Sequence[None]:
        crasher.pass_by("before settlement")
        answers = await remove_all(queue, items)
        crasher.pass_by("after settlement")
        return answers

    WorkQueue._add_all, WorkQueue._remove_all = adding, removing  # type: ignore[assignment, method-assign]  # in this process only


if __name__ == "__main__":
    crasher = Crasher(Path(sys.argv.pop(1)))
    monitoring.register(CommandBoundaries(crasher))
    watch_queue(crasher)
    for module in _SLOW_TO_LOAD:
        import_module(module)
    while not crasher.may_start:
        time.sleep(_PAUSE_SECONDS)
    main()
