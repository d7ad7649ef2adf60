"""MongoDB and Redis as the chaos stack runs them: the embedded servers, with MongoDB's test commands allowed."""

from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError
from redis.asyncio import Redis

from message_service.embedded.binaries import server_environment
from message_service.embedded.child import Child, start_child
from message_service.embedded.layout import Layout
from message_service.embedded.lock import FolderLock
from message_service.embedded.mongod import await_primary, find_mongod
from message_service.embedded.redis_server import await_pong, launch_redis
from tests.chaos.supervised import Place

_PARAMETERS = {
    "transactionLifetimeLimitSeconds": "2",
    "diagnosticDataCollectionEnabled": "false",
    # Failpoints need them. Only here: whoever reaches such a server can make it fail.
    "enableTestCommands": "true",
}


class Stores:
    """A data folder and its two servers, on unix sockets. Only for the main thread."""

    def __init__(self, folder: Path, *, with_mongod: bool) -> None:
        self.layout = Layout.of(folder)
        self.layout.prepare()
        self._lock = FolderLock.take(self.layout.lock)
        self.redis = Place("redis", lambda: launch_redis(self.layout, self._lock))
        self.mongod = Place("mongod", self._launch_mongod) if with_mongod else None

    def await_ready(self) -> None:
        await_pong(self.layout, self.redis.child)
        if self.mongod is not None:
            await_primary(self.layout, self.mongod.child)

    @property
    def places(self) -> list[Place]:
        return [self.redis, *([self.mongod] if self.mongod is not None else [])]

    def forget_redis(self) -> None:
        """What Redis keeps on disk is gone. For a Redis that does not run."""
        for path in sorted(self.layout.redis_dir.rglob("*"), reverse=True):
            if path.is_file():
                path.unlink()

    def redis_client(self, *, seconds: float = 1.0) -> "Redis":
        """Past the proxy."""
        return Redis.from_url(self.layout.redis_url(), socket_timeout=seconds, socket_connect_timeout=seconds)

    def redis_url_at(self, port: int) -> str:
        password = self.layout.redis_password.read_text("ascii").strip()
        return f"redis://:{password}@127.0.0.1:{port}/0"

    def release(self) -> None:
        self._lock.release()

    def _launch_mongod(self) -> Child:
        command = [
            *(str(find_mongod()), "--dbpath", str(self.layout.mongod_dir), "--replSet", "embedded"),
            *("--bind_ip", str(self.layout.mongod_socket), "--nounixsocket"),
            *("--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "512"),
            *("--networkMessageCompressors", "disabled", "--noscripting"),
        ]
        for name, value in _PARAMETERS.items():
            command += ["--setParameter", f"{name}={value}"]
        with self.layout.mongod_log.open("ab") as output:
            return start_child(
                command, environment=server_environment(), output=output, pass_descriptors=[self._lock.descriptor]
            )


async def set_failpoint(url: str, name: str, mode: Any, **data: Any) -> bool:
    """Whether the server took it: one that is down or paused does not."""
    command: dict[str, Any] = {"configureFailPoint": name, "mode": mode}
    if data:
        command["data"] = data
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(url, serverSelectionTimeoutMS=1000, timeoutMS=1500)
    async with client:
        try:
            await client.admin.command(command)
        except PyMongoError:
            return False
    return True
