"""`message-service dev`: embedded servers, API and worker as child processes, watched over until Ctrl-C."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from message_service.cli.address import base_url, free_port
from message_service.cli.notice import Notify, open_notices
from message_service.cli.open_files import raise_open_files_limit
from message_service.cli.panel import PAGES, Running, print_panel
from message_service.cli.readiness import await_ready, existing_pages
from message_service.cli.standby import WorkerStarts
from message_service.cli.stop_signals import StopRequested, StopSignals
from message_service.cli.supervisor import Supervised, Tended, keep_running
from message_service.embedded.child import Child, start_child, stop_children
from message_service.embedded.servers import EmbeddedServers, ServerName, start_embedded_servers
from message_service.errors import StartRefused
from message_service.settings import ENVIRONMENT_PREFIX, Settings

_READY_SECONDS = 60.0
_STOP_SECONDS = 10.0
_DRAIN_SECONDS = 2.0
"""What a worker gets for its running replies unless `drain_seconds` was set, for whoever presses Ctrl-C does not
want to wait. What is not done by then is handed back, and answered after the next start."""


def run_dev(settings: Settings) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP; a second one hurries. Raises StartRefused when something does not start."""
    began_at = time.monotonic()
    notify = open_notices(settings.log_format)
    raise_open_files_limit()
    port = free_port(settings.host, settings.port)
    with StopSignals() as signals:
        development = _Development(settings.model_copy(update={"port": port}), signals, notify)
        try:
            development.start()
            running = development.describe(ready_seconds=time.monotonic() - began_at)
            with suppress(OSError):  # nobody reads our output: that is no reason to stop
                print_panel(running)
            development.keep_running()
        except StopRequested:
            notify("dev.stopping", hint="Ctrl-C once more hurries")
        finally:
            development.stop()


class _Development:
    """The servers that nobody else provides, one API and one worker."""

    def __init__(self, settings: Settings, signals: StopSignals, notify: Notify) -> None:
        self._settings = settings
        self._signals = signals
        self._notify = notify
        self._servers: EmbeddedServers | None = None
        self._workers: WorkerStarts | None = None
        self._processes: dict[str, Supervised] = {}
        """In the order in which they are stopped."""
        urls = {ServerName.MONGODB: settings.mongodb_url, ServerName.REDIS: settings.redis_url}
        self._embedded = [name for name, url in urls.items() if url is None]

    def start(self) -> None:
        """Block until the API is ready. Raises StartRefused, or StopRequested on a signal."""
        if self._embedded:
            self._servers = start_embedded_servers(
                self._settings.data_dir, names=self._embedded, pause=self._signals.pause
            )
        environment = self._environment()
        self._workers = WorkerStarts(partial(_run_worker, environment=environment))
        starts: dict[str, Callable[[], Child]] = {
            "api": partial(_run_command, ["serve"], environment),
            "worker": self._workers,
        }
        for name, run in starts.items():
            self._processes[name] = Supervised(name, run(), run, self._notify)
        await_ready(
            self._settings.host,
            self._settings.port,
            seconds=_READY_SECONDS,
            still_alive=self._require_alive,
            pause=self._signals.pause,
        )

    def keep_running(self) -> None:
        """Ends by StopRequested alone."""
        tended: list[Tended] = list(self._processes.values())
        if self._servers is not None:
            for name, child in self._servers.processes.items():
                tended.append(Supervised(name, child, partial(_restart_server, self._servers, name), self._notify))
        if self._workers is not None:
            tended.append(self._workers)
        keep_running(tended, self._signals.pause)

    def stop(self) -> None:
        """Whoever uses something stops before it. A signal meanwhile kills API and worker, two kill the servers too."""
        count = self._signals.count
        if self._workers is not None:
            self._workers.stop()
        patience_seconds = max(_STOP_SECONDS, self._drain_seconds + 2)
        for process in self._processes.values():
            stop_children(
                [process.child],
                patience_seconds=patience_seconds,
                is_hurried=lambda: self._signals.count > count,
                pause=self._signals.sleep,
            )
        if self._servers is not None:
            self._servers.stop(is_hurried=lambda: self._signals.count > count + 1)

    def describe(self, *, ready_seconds: float) -> Running:
        settings = self._settings
        return Running(
            base_url=base_url(settings.host, settings.port),
            pages=existing_pages(settings.host, settings.port, PAGES),
            providers=settings.enabled_providers,
            data_dir=self._servers.data_dir if self._servers else None,
            embedded=self._embedded,
            ready_seconds=ready_seconds,
            has_gateway_key=settings.gateway_key is not None,
        )

    def _environment(self) -> dict[str, str]:
        """Ours, with what was found out here. URLs hold passwords, so they travel this way and on no command line."""
        found = {"PORT": str(self._settings.port)}
        if self._servers is not None:
            urls = {ServerName.MONGODB: self._servers.mongodb_url, ServerName.REDIS: self._servers.redis_url}
            found |= {f"{name.upper()}_URL": urls[name] for name in self._embedded}
        found["DRAIN_SECONDS"] = str(self._drain_seconds)
        return os.environ | {ENVIRONMENT_PREFIX + name: value for name, value in found.items()}

    @property
    def _drain_seconds(self) -> float:
        is_chosen = "drain_seconds" in self._settings.model_fields_set
        return self._settings.drain_seconds if is_chosen else _DRAIN_SECONDS

    def _require_alive(self) -> None:
        for name, process in self._processes.items():
            exit_code = process.child.poll()
            if exit_code is not None:
                raise StartRefused(
                    f"The {name} ended with exit code {exit_code} before it was ready. What it wrote is above."
                )


def _run_worker(arguments: Sequence[str], *, environment: dict[str, str], hears_more: bool = False) -> Child:
    return _run_command(["work", *arguments], environment, hears_more=hears_more)


def _run_command(arguments: Sequence[str], environment: dict[str, str], *, hears_more: bool = False) -> Child:
    command = [sys.executable, "-m", "message_service", *arguments]
    return start_child(command, environment=environment, hears_more=hears_more)


def _restart_server(servers: EmbeddedServers, name: ServerName) -> Child:
    servers.start([name])
    return servers.processes[name]
