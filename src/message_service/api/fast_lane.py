"""Calls the hottest routes straight: FastAPI documents them and serves the rest.

Between a request and its endpoint FastAPI and Starlette put a dozen layers (exit stacks, telemetry,
dependency resolution) that take longer than the endpoint. Those named here need none of them: they
read the request themselves and raise only errors of our tree.
"""

from collections.abc import Awaitable, Callable, Mapping

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from message_service.api.context import request_id_of
from message_service.api.errors import problem_response
from message_service.errors import MessageServiceError

Endpoint = Callable[[Request], Awaitable[Response]]


class FastLane:
    """`routes` maps a method and an exact path to a route of `app`, whose endpoint takes the request alone."""

    def __init__(self, app: FastAPI, routes: Mapping[tuple[str, str], APIRoute]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["app"] = self._app
        scope["route"] = route
        request = Request(scope, receive, send)
        try:
            response = await route.endpoint(request)
        except MessageServiceError as fault:
            response = problem_response(fault, instance=scope["path"], request_id=request_id_of(request))
        await response(scope, receive, send)
