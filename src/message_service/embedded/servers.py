"""Start the embedded MongoDB and Redis on a data folder, keep them, stop them."""

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from message_service.embedded.child import Child, stop_children
from message_service.embedded.layout import Layout
from message_service.embedded.lock import FolderLock
from message_service.embedded.mongod import await_primary, launch_mongod
from message_service.embedded.redis_server import await_pong, launch_redis

STOP_PATIENCE_SECONDS = 10.0


class ServerName(StrEnum):
    MONGODB = "mongodb"
    REDIS = "redis"


@dataclass(frozen=True, slots=True)
class _Start:
    """Both launch before either is waited for, so that they start side by side."""

    launch: Callable[[Layout, FolderLock], Child]
    await_ready: Callable[..., None]


_STARTS: Mapping[ServerName, _Start] = {
    ServerName.MONGODB: _Start(launch_mongod, await_primary),
    ServerName.REDIS: _Start(launch_redis, await_pong),
}


class EmbeddedServers:
    """Running servers, and the lock on their data folder. Used from the main thread only."""

    def __init__(self, layout: Layout, lock: FolderLock, pause: Callable[[float], None]) -> None:
        self._layout = layout
        self._lock = lock
        self._pause = pause
        self.processes: dict[ServerName, Child] = {}

    @property
    def data_dir(self) -> Path:
        return self._layout.data_dir

    @property
    def mongodb_url(self) -> str:
        return self._layout.mongodb_url

    @property
    def redis_url(self) -> str:
        """Holds the password."""
        return self._layout.redis_url()

    def start(self, names: Collection[ServerName]) -> None:
        """Start them, or start them again after they ended. Blocks until they are ready.

        Raises EmbeddedServerFailed; none of `names` runs then.
        """
        try:
            for name in names:
                self.processes[name] = _STARTS[name].launch(self._layout, self._lock)
            for name in names:
                _STARTS[name].await_ready(self._layout, self.processes[name], pause=self._pause)
        except BaseException:
            stop_children(
                [self.processes[name] for name in names if name in self.processes],
                patience_seconds=STOP_PATIENCE_SECONDS,
            )
            raise

    def stop(self, *, is_hurried: Callable[[], bool] = lambda: False) -> None:
        """SIGTERM, which both take as: flush and end. SIGKILL after 10 s, or once `is_hurried`."""
        stop_children(self.processes.values(), patience_seconds=STOP_PATIENCE_SECONDS, is_hurried=is_hurried)
        if self._layout.sockets_dir.parent != self._layout.data_dir:
            with suppress(OSError):
                self._layout.sockets_dir.rmdir()
        self._lock.release()


def start_embedded_servers(
    data_dir: Path,
    *,
    names: Collection[ServerName] = tuple(ServerName),
    pause: Callable[[float], None] = time.sleep,
) -> EmbeddedServers:
    """Start the servers on `data_dir`, made if it is not there, and block until they are ready (about a second).

    Only for the main thread: the servers end when the thread that started them does. `pause` is how to wait; what it
    raises ends the start and stops what had been started.

    Raises EmbeddedServerFailed, which says what to do: the folder is in use, a wheel is missing, a server does not run.
    """
    layout = Layout.of(data_dir)
    layout.prepare()
    servers = EmbeddedServers(layout, FolderLock.take(layout.lock, pause=pause), pause)
    try:
        servers.start(names)
    except BaseException:
        servers.stop()
        raise
    return servers
