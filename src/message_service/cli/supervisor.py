"""Keep a set of processes running: whatever ends is started again, later each time."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from message_service.cli.notice import Notify
from message_service.cli.restart import Restart
from message_service.embedded.child import Child
from message_service.errors import StartRefused


class Tended(Protocol):
    def tend(self) -> float:
        """Do what is due. Returns the seconds until this is next needed, at most 1."""
        ...


class Supervised:
    """One process, and how to start it again."""

    def __init__(self, name: str, child: Child, start_again: Callable[[], Child], notify: Notify) -> None:
        self.name = name
        self.child = child
        self._start_again = start_again
        self._notify = notify
        self._started_at = time.monotonic()
        self._restart = Restart()
        self._start_at: float | None = None

    def tend(self) -> float:
        """Notice an end, and start again when it is time. Returns the seconds until this is next needed, at most 1."""
        now = time.monotonic()
        if self._start_at is None:
            exit_code = self.child.poll()
            if exit_code is None:
                return 1.0
            self._plan(now, exit_code=exit_code, reason=None)
        if self._start_at is not None and now >= self._start_at:
            self._start_at = None
            self._started_at = now
            try:
                self.child = self._start_again()
            except StartRefused as refusal:
                self._plan(now, exit_code=None, reason=refusal.detail)
            except OSError as fault:
                # The disk is full, or the system has no process left: for now.
                self._plan(now, exit_code=None, reason=str(fault))
        return 1.0 if self._start_at is None else min(1.0, max(0.0, self._start_at - time.monotonic()))

    def _plan(self, now: float, *, exit_code: int | None, reason: str | None) -> None:
        self._restart = self._restart.after_end(ran_seconds=now - self._started_at)
        self._start_at = now + self._restart.delay_seconds
        self._notify(
            "process.ended",
            level="warning",
            process=self.name,
            restart_in_seconds=self._restart.delay_seconds,
            **({"exit_code": exit_code} if reason is None else {"reason": reason}),
        )


def keep_running(processes: Sequence[Tended], pause: Callable[[float], None]) -> None:
    """Returns only by what `pause` raises. `pause` must return early when a child ends, or restarts wait up to 1 s."""
    while True:
        pause(min(process.tend() for process in processes))
