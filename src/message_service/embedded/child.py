"""Child processes that neither outlive us nor hear our Ctrl-C."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from message_service.errors import EmbeddedServerFailed

Child = subprocess.Popen[bytes]

_LAUNCHER = Path(__file__).with_name("die_with_parent.py")


def start_child(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    output: IO[bytes] | None = None,
    standard_input: bytes | None = None,
    hears_more: bool = False,
    pass_descriptors: Sequence[int] = (),
) -> Child:
    """Start `command` (an absolute path and its arguments) in its own process group.

    It gets SIGTERM when we end. `output` takes what it writes; without one it writes where we write.
    `standard_input` is for what must not be seen on a command line; with `hears_more` it stays open, as the child's
    `stdin`. Only for the main thread, because the kernel sends
    that signal when the starting *thread* ends (PR_SET_PDEATHSIG in prctl(2)).
    """
    if threading.current_thread() is not threading.main_thread():
        raise EmbeddedServerFailed("Child processes must be started from the main thread, or they end with the thread.")
    child = subprocess.Popen(
        # -S: the launcher needs no site-packages. -I: nor anything from the current folder or the environment.
        [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *command],
        stdin=subprocess.PIPE if hears_more or standard_input is not None else subprocess.DEVNULL,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        env=dict(environment),
        pass_fds=tuple(pass_descriptors),
        process_group=0,
    )
    if standard_input is not None and child.stdin is not None:
        # A child that could not run has closed its end: whoever waits for it to become ready says why.
        with suppress(BrokenPipeError), child.stdin as pipe:
            pipe.write(standard_input)
    return child


def fresh_log(path: Path) -> IO[bytes]:
    """An empty log for a new child; the last one is kept beside it as `<name>.previous`, so two are kept in all."""
    with suppress(FileNotFoundError):
        path.replace(path.with_name(path.name + ".previous"))
    return open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb")


def stop_children(
    children: Iterable[Child],
    *,
    patience_seconds: float,
    is_hurried: Callable[[], bool] = lambda: False,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """SIGTERM to all, then SIGKILL to those still there after `patience_seconds` or once `is_hurried`."""
    alive = [child for child in children if child.poll() is None]
    for child in alive:
        child.terminate()
    give_up_at = time.monotonic() + patience_seconds
    while any(child.poll() is None for child in alive) and time.monotonic() < give_up_at and not is_hurried():
        pause(0.02)
    for child in alive:
        if child.poll() is None:
            child.kill()
            child.wait()
