"""Structured logs: JSON for machines, text for a terminal. Never message text, never a secret."""

import logging
import sys
from contextvars import ContextVar
from typing import Literal

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

about_request: ContextVar[str | None] = ContextVar("about_request", default=None)
"""The id of the request being answered; every line logged meanwhile carries it."""

log: structlog.stdlib.BoundLogger = structlog.get_logger("message_service")


def configure_logs(*, level: str, format_: Literal["auto", "json", "text"], role: str) -> None:
    """Send our events and the libraries' warnings to standard error, one line each."""
    is_text = format_ == "text" or (format_ == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        _request_stamp,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _role_stamp(role),
    ]
    render: list[Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if is_text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dumps)]
    )
    numeric = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(handlers=[stream], level=max(numeric, logging.WARNING), force=True)


def _request_stamp(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if (request_id := about_request.get()) is not None:
        event["request"] = request_id
    return event


def _role_stamp(role: str) -> Processor:
    def stamp(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["role"] = role
        return event

    return stamp


def _dumps(event: EventDict, **_: object) -> str:
    return orjson.dumps(event, default=str).decode()
