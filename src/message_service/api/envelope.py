"""What every request and every answer gets: an id, headers, a metric, and an answer even when we break."""

import re
from time import perf_counter

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from message_service.api.errors import problem_response
from message_service.ids import new_request_id
from message_service.logs import log
from message_service.metrics import Metrics

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_PRIVATE_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Envelope:
    """Pure ASGI: a wrapper that buffered or spawned tasks would hide disconnects and slow the streams."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_at = perf_counter()
        request_id = _request_id(scope)
        scope["request_id"] = request_id
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                headers.append((b"x-request-id", request_id.encode()))
                names = {name for name, _ in headers}
                headers.extend(header for header in _PRIVATE_HEADERS if header[0] not in names)
            await send(message)

        with bound_contextvars(request=request_id):
            try:
                await self._app(scope, receive, send_with_headers)
            except Exception as fault:
                log.exception("request.broke", route=_route(scope))
                if status != 500:
                    raise  # the answer has begun: only cutting the connection can say that it is not whole
                response = problem_response(fault, instance=Request(scope).url.path, request_id=request_id)
                await response(scope, receive, send_with_headers)
            finally:
                _count(scope, status, perf_counter() - began_at)


def _count(scope: Scope, status: int, seconds: float) -> None:
    metrics: Metrics = scope["app"].state.services.metrics
    route = _route(scope)
    method = scope["method"] if scope["method"] in _METHODS else "other"
    metrics.http_requests.labels(route, method, status).inc()
    metrics.http_seconds.labels(route).observe(seconds)


def _request_id(scope: Scope) -> str:
    """The caller's own id where it is presentable, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value.decode("ascii"))
    return new_request_id()


def _route(scope: Scope) -> str:
    """The template that matched: the path itself would make a series for each id."""
    route = scope.get("route")
    return getattr(route, "path", "unmatched")
