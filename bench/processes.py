"""Child processes of a benchmark: start, wait until ready, read CPU and memory from /proc, stop."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Self

from message_service.embedded.child import start_child

_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class ProcessEnded(RuntimeError):
    """A server under measurement ended or never became ready; the message holds the end of its output."""


class ServerProcess:
    """One child process that does not outlive us, its output kept in a temporary file. Only for the main thread."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self._process = start_child(command, environment=environment, output=self._output)

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self, url: str, timeout_seconds: float = 30) -> float:
        """Poll `url` until it answers 200; returns the seconds waited. Raises `ProcessEnded`."""
        begun = time.monotonic()
        while time.monotonic() - begun < timeout_seconds:
            self.require_running()
            if _answers_200(url):
                return time.monotonic() - begun
            time.sleep(0.01)
        raise ProcessEnded(f"{self.name} was not ready after {timeout_seconds} s:\n{self.last_output()}")

    def require_running(self) -> None:
        if self._process.poll() is not None:
            raise ProcessEnded(f"{self.name} ended with {self._process.returncode}:\n{self.last_output()}")

    def last_output(self, byte_count: int = 4000) -> str:
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - byte_count))
        return self._output.read().decode(errors="replace")

    def stop(self, timeout_seconds: float = 20) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self._process.wait()
        self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.require_running()  # a server that ended explains whatever else failed
        finally:
            self.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def script(name: str) -> str:
    """A console script that lies beside the running interpreter."""
    return str(Path(sys.executable).with_name(name))


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of these processes, their living descendants and those already waited for (proc(5))."""
    ticks = 0
    for pid in _with_descendants(pids):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        ticks += sum(map(int, fields[11:15]))
    return ticks / _CLOCK_TICKS


def memory_megabytes(pids: Sequence[int]) -> float:
    """Proportional set size where the kernel tells it, else resident set size, descendants included."""
    kilobytes = 0
    for pid in _with_descendants(pids):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            lines = [
                line.replace("VmRSS", "Pss")
                for line in Path(f"/proc/{pid}/status").read_text().splitlines()
                if line.startswith("VmRSS")
            ]
        kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes * 1024 / 1e6


def _with_descendants(pids: Sequence[int]) -> Iterator[int]:
    for pid in pids:
        yield pid
        try:
            tasks = list(Path(f"/proc/{pid}/task").iterdir())
            children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except OSError:
            continue
        yield from _with_descendants(children)


def _answers_200(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
