"""What every request and every answer gets: an id, headers, a metric, and an answer even when we break."""

import asyncio
import re
from time import perf_counter

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from message_service.api.errors import problem_response
from message_service.errors import StoreUnavailable
from message_service.ids import new_request_id
from message_service.logs import about_request, log
from message_service.metrics import Metrics

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_CLIENT_LEFT = 499
"""As nginx counts it; never sent."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Envelope:
    """Pure ASGI: a wrapper that buffered or spawned tasks would hide disconnects and slow the streams."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_at = perf_counter()
        request_id = _request_id(scope)
        scope["request_id"] = request_id
        status = 500
        has_begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status = message["status"]
                has_begun = True
                headers = message["headers"]
                headers.append((b"x-request-id", request_id.encode()))
                headers.append((b"x-content-type-options", b"nosniff"))
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append((b"cache-control", b"no-store"))
            await send(message)

        log_context = about_request.set(request_id)
        try:
            await self._app(scope, receive, send_with_headers)
        except ClientDisconnect:
            # It left before it had sent its request: there is nobody to answer, and nothing broke.
            status = _CLIENT_LEFT
        except asyncio.CancelledError:
            # The server's last word to a request that outlives its grace period; the process ends right after.
            if not has_begun:
                fault = StoreUnavailable("The server is going away: repeat the request.", retry_after_seconds=1)
                await problem_response(fault, instance=scope["path"], request_id=request_id)(
                    scope, receive, send_with_headers
                )
        except Exception as fault:
            log.exception("request.broke", route=_route(scope))
            if has_begun:
                raise  # only cutting the connection can say that the answer is not whole
            response = problem_response(fault, instance=scope["path"], request_id=request_id)
            await response(scope, receive, send_with_headers)
        finally:
            self._record(scope, status, perf_counter() - began_at)
            about_request.reset(log_context)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.answered(_route(scope), method, status, seconds)
        tell = log.warning if status >= 500 else log.debug
        tell("request.answered", method=method, route=_route(scope), status=status, seconds=round(seconds, 4))


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
