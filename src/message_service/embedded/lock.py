"""One owner for a data folder.

MongoDB refuses a second server on its files; Redis would start and overwrite what the first one wrote.
"""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from message_service.errors import EmbeddedServerFailed

_GRACE_SECONDS = 12.0
"""How long to wait for the servers of an owner that was killed: they hold the lock until they have shut down."""


class FolderLock:
    """An exclusive flock(2) on the folder's `lock` file, which names the process that holds it.

    The servers inherit `descriptor`, so the lock outlives an owner that was killed until the last of them has ended.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def take(cls, path: Path, *, pause: Callable[[float], None] = time.sleep) -> Self:
        """Raises EmbeddedServerFailed when a living process holds it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            give_up_at = time.monotonic() + _GRACE_SECONDS
            while not _try_lock(descriptor):
                owner = _owner(descriptor)
                if (owner is not None and _is_alive(owner)) or time.monotonic() > give_up_at:
                    who = "" if owner is None else f" (process {owner})"
                    raise EmbeddedServerFailed(
                        f"The data folder {path.parent} is in use by another Message Service{who}. "
                        "Stop that one, or choose another folder with MESSAGE_SERVICE_DATA_DIR."
                    )
                pause(0.05)
        except BaseException:
            os.close(descriptor)
            raise
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        os.ftruncate(self.descriptor, 0)
        os.close(self.descriptor)


def is_held(path: Path) -> bool:
    """Whether embedded servers run on the folder of this lock file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else None


def _is_alive(pid: int) -> bool:
    """A process that has ended but was not yet waited for counts as gone (proc_pid_stat(5): state Z)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
