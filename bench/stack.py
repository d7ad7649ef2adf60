"""What is measured, as running processes: a pair of database servers, this service, and the floor on the same pair."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from pydantic import TypeAdapter

from bench.load import Measured, Plan
from bench.processes import ServerProcess, free_port, script
from message_service.embedded.servers import start_embedded_servers

_OWN_PREFIX = "MESSAGE_SERVICE_"
_UNLIMITED = {"MESSAGE_SERVICE_RATE_LIMIT_PER_MINUTE": "100000", "MESSAGE_SERVICE_MAX_QUEUED": "1000000"}
"""A hot conversation's user posts more than a person may, and replies are asked for without any worker; both are still
counted."""


@dataclass(frozen=True, slots=True)
class Stores:
    mongodb_url: str
    redis_url: str
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Served:
    """An HTTP server under measurement."""

    port: int
    pids: tuple[int, ...]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@contextmanager
def open_stores() -> Iterator[Stores]:
    """A fresh pair of embedded servers, gone with their files afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        servers = start_embedded_servers(Path(directory))
        try:
            pids = tuple(child.pid for child in servers.processes.values())
            yield Stores(servers.mongodb_url, servers.redis_url, pids)
        finally:
            servers.stop()


@contextmanager
def serve_ours(
    stores: Stores, *, database: str = "bench", settings: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """The API process alone."""
    port = free_port()
    environment = _own_environment(stores, database) | {"MESSAGE_SERVICE_PORT": str(port)} | dict(settings or {})
    with ServerProcess("message-service serve", [script("message-service"), "serve"], environment) as api:
        api.wait_until_ready(f"http://127.0.0.1:{port}/health/ready")
        yield Served(port, (api.pid,))


@contextmanager
def work_ours(stores: Stores, *, database: str = "bench", settings: Mapping[str, str] | None = None) -> Iterator[int]:
    """One worker process; yields its pid."""
    port = free_port()
    environment = _own_environment(stores, database) | {"MESSAGE_SERVICE_WORKER_METRICS_PORT": str(port)}
    command = [script("message-service"), "work"]
    with ServerProcess("message-service work", command, environment | dict(settings or {})) as worker:
        worker.wait_until_ready(f"http://127.0.0.1:{port}/metrics")
        yield worker.pid


@contextmanager
def serve_floor(stores: Stores, *, database: str = "floor") -> Iterator[Served]:
    """Without its access log, which this service does not write either."""
    port = free_port()
    command = [script("uvicorn"), "bench.floor:app", "--port", str(port), "--loop", "uvloop", "--http", "httptools"]
    environment = clean_environment() | {
        "FLOOR_MONGODB_URL": stores.mongodb_url,
        "FLOOR_REDIS_URL": stores.redis_url,
        "FLOOR_DATABASE": database,
    }
    with ServerProcess("the floor", [*command, "--no-access-log"], environment) as floor:
        floor.wait_until_ready(f"http://127.0.0.1:{port}/health")
        yield Served(port, (floor.pid,))


@dataclass(frozen=True, slots=True)
class Upstream:
    """A running model server of `bench.upstream`."""

    port: int

    @property
    def settings(self) -> dict[str, str]:
        """What makes the service ask it, as the only provider."""
        return {
            "MESSAGE_SERVICE_LM_STUDIO_URL": f"http://127.0.0.1:{self.port}",
            "MESSAGE_SERVICE_PROVIDERS": "lm_studio",
        }


@contextmanager
def serve_upstream(*, tokens: int, tokens_per_second: float) -> Iterator[Upstream]:
    port = free_port()
    command = [sys.executable, "-m", "bench.upstream", str(port), str(tokens), str(tokens_per_second)]
    with ServerProcess("the model server", command, clean_environment()) as upstream:
        upstream.wait_until_ready(f"http://127.0.0.1:{port}/v1/models")
        yield Upstream(port)


def measure(plan: Plan) -> Measured:
    """Run the load generator in a process of its own. Raises `RuntimeError` with what it wrote if it fails."""
    generator = subprocess.run(
        [sys.executable, "-m", "bench.load"], input=orjson.dumps(asdict(plan)), capture_output=True, check=False
    )
    if generator.returncode != 0:
        raise RuntimeError(f"The load generator failed:\n{generator.stderr.decode(errors='replace')[-4000:]}")
    return TypeAdapter(Measured).validate_json(generator.stdout)


def clean_environment() -> dict[str, str]:
    """Ours without settings of the service: a run does not depend on the shell it is started from."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OWN_PREFIX)}


def _own_environment(stores: Stores, database: str) -> dict[str, str]:
    return (
        clean_environment()
        | _UNLIMITED
        | {
            "MESSAGE_SERVICE_MONGODB_URL": stores.mongodb_url,
            "MESSAGE_SERVICE_REDIS_URL": stores.redis_url,
            "MESSAGE_SERVICE_MONGODB_DATABASE": database,
        }
    )
