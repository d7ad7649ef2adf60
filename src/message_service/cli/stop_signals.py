"""Ctrl-C and its kin as a count to look at, and a sleep that they end."""

import select
import signal
import socket
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequested(Exception):
    """Somebody asked us to stop while something was being waited for."""


class StopSignals:
    """Between entering and leaving, SIGINT, SIGTERM and SIGHUP are counted; SIGCHLD only wakes.

    Nothing is raised inside a handler: a child could be lost between its start and the line that keeps it.
    """

    def __init__(self) -> None:
        self.count = 0
        self._wake, self._signalled = socket.socketpair()
        self._previous: dict[signal.Signals, Any] = {}
        self._previous_wakeup = -1

    def __enter__(self) -> Self:
        self._wake.setblocking(False)
        self._signalled.setblocking(False)
        self._previous_wakeup = signal.set_wakeup_fd(self._signalled.fileno(), warn_on_full_buffer=False)
        for stop in _STOPS:
            if stop is signal.SIGHUP and signal.getsignal(stop) is signal.SIG_IGN:
                continue  # nohup asked for that
            self._previous[stop] = signal.signal(stop, self._count_it)
        self._previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_wakeup)
        self._wake.close()
        self._signalled.close()

    def sleep(self, seconds: float) -> None:
        """Sleep that long, or until a signal arrives."""
        select.select([self._wake], [], [], max(seconds, 0))
        with suppress(BlockingIOError):
            while self._wake.recv(4096):
                pass

    def pause(self, seconds: float) -> None:
        """Sleep likewise. Raises StopRequested once somebody asked us to stop."""
        if self.count == 0:
            self.sleep(seconds)
        if self.count:
            raise StopRequested

    def _count_it(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
