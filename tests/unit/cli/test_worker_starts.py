"""Whom a worker takes over from: everybody that ended before it and whose replies may still be theirs."""

import errno
import subprocess
from collections.abc import Iterator, Sequence

import pytest

from message_service.cli.restart import STEADY_SECONDS
from message_service.cli.standby import WorkerStarts
from message_service.embedded.child import Child
from tests.fixtures.clock import Clock


class Workers:
    """Starts what says back what it is told."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.starts = WorkerStarts(self.run, clock=self.clock)
        self.arguments: Sequence[str] = ()
        self.children: list[Child] = []
        self.is_refused = False
        """Whether the system has no process left."""

    def run(self, arguments: Sequence[str], *, hears_more: bool = False) -> Child:
        if self.is_refused:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        self.arguments = arguments
        stdin = subprocess.PIPE if hears_more else subprocess.DEVNULL
        self.children.append(subprocess.Popen(["/bin/cat"], stdin=stdin, stdout=subprocess.PIPE))
        return self.children[-1]

    def start(self) -> tuple[str, list[str]]:
        """One more worker: its id, and those it is to replace."""
        self.starts()
        _, worker_id, *more = self.arguments
        return worker_id, more[1::2]

    def start_the_standby(self) -> tuple[str, list[str]]:
        self.clock.at += 5
        self.starts.tend()
        child = self.starts()
        assert child.stdout is not None
        worker_id, *replaced = child.stdout.read().decode().split()
        return worker_id, replaced


@pytest.fixture
def workers() -> Iterator[Workers]:
    started = Workers()
    yield started
    for child in started.children:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def test_first_worker_replaces_nobody(workers: Workers) -> None:
    assert workers.start()[1] == []


def test_all_that_ended_are_replaced_when_they_end_one_after_the_other(workers: Workers) -> None:
    ended: list[str] = []
    for start in (workers.start, workers.start_the_standby, workers.start, workers.start_the_standby):
        worker_id, replaced = start()
        assert replaced == ended
        ended.append(worker_id)


def test_only_the_last_is_replaced_when_it_had_run_steadily(workers: Workers) -> None:
    workers.start()
    last, _ = workers.start()
    workers.clock.at += STEADY_SECONDS
    assert workers.start()[1] == [last]


def test_those_that_ended_long_ago_are_forgotten_when_none_runs_steadily(workers: Workers) -> None:
    ended = [workers.start()[0] for _ in range(30)]
    assert workers.start()[1] == ended[-20:]


def test_standby_is_loaded_later_when_the_system_has_no_process_left(workers: Workers) -> None:
    workers.clock.at += 5
    workers.is_refused = True
    assert workers.starts.tend() == 1.0
    workers.is_refused = False
    assert workers.starts.tend() == 1.0
    assert workers.children == [], "not at once"
    workers.clock.at += 5
    workers.starts.tend()
    assert len(workers.children) == 1
