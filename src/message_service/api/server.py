"""Runs the application under uvicorn, and lets it go within seconds even while watchers are connected."""

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn
import uvloop

from message_service.api.app import create_app
from message_service.collector import tune_collector
from message_service.errors import StartRefused
from message_service.logs import configure_logs, log
from message_service.settings import Settings
from message_service.wiring.api import ApiServices, open_api

_GRACE_SECONDS = 2
_BACKLOG = 2048


class _Server(uvicorn.Server):
    """Leaves signals to us: uvicorn would raise them again before the services are closed."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def run_api(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises `StartRefused` and `StoreUnavailable` when it cannot start."""
    configure_logs(level=settings.log_level, format_=settings.log_format, role="api")
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    async with open_api(settings) as services:
        server = _Server(
            uvicorn.Config(
                create_app(services),
                host=settings.host,
                port=settings.port,
                http="httptools",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=_GRACE_SECONDS,
            )
        )
        _stop_on_signals(server, services)
        tune_collector()
        try:
            await server.serve()
        except SystemExit:
            # How uvicorn says that it could not bind; it has logged why.
            raise StartRefused(f"Cannot listen on {settings.host}:{settings.port}: is the port taken?") from None
    log.info("api.stopped")


def _stop_on_signals(server: _Server, services: ApiServices) -> None:
    def stop() -> None:
        server.should_exit = True
        # uvicorn waits for open streams, so they are told to end.
        services.follower.send_away()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
