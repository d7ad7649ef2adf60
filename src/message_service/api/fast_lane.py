"""Calls the hottest routes straight: FastAPI documents them and serves the rest.

Between a request and its endpoint FastAPI and Starlette put a dozen layers (exit stacks, telemetry,
dependency resolution) that take longer than the endpoint. Those named here need none of them: they
read the request themselves and raise only errors of our tree.
"""

from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from message_service.api.context import request_id_of
from message_service.api.errors import problem_response
from message_service.errors import MessageServiceError


class FastLane:
    """`routes` of `app`, whose endpoints take the request, and as text what their path holds in braces."""

    def __init__(self, app: FastAPI, routes: Sequence[APIRoute]) -> None:
        self._app = app
        by_method = [(method, route) for route in routes for method in route.methods or ()]
        self._exact = {(method, route.path): route for method, route in by_method if not route.param_convertors}
        self._with_parameters = [(method, route) for method, route in by_method if route.param_convertors]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route, parameters = self._match(scope) if scope["type"] == "http" else (None, {})
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["app"] = self._app
        scope["route"] = route
        request = Request(scope, receive, send)
        try:
            response = await route.endpoint(request, **parameters)
        except MessageServiceError as fault:
            response = problem_response(fault, instance=scope["path"], request_id=request_id_of(request))
        await response(scope, receive, send)

    def _match(self, scope: Scope) -> tuple[APIRoute | None, dict[str, str]]:
        method, path = scope["method"], scope["path"]
        exact = self._exact.get((method, path))
        if exact is not None:
            return exact, {}
        for its_method, route in self._with_parameters:
            if its_method == method and (match := route.path_regex.match(path)):
                return route, match.groupdict()
        return None, {}
