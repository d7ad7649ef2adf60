"""The FastAPI application: routers, the envelope and the error table."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from message_service import __version__
from message_service.api import (
    dead_letters,
    history,
    limits,
    messages,
    operations,
    providers,
    replies,
    usage,
    variants,
)
from message_service.api.context import request_id_of
from message_service.api.envelope import Envelope
from message_service.api.errors import problem_response
from message_service.api.fast_lane import FastLane
from message_service.api.openapi import document
from message_service.api.patience import Patience
from message_service.api.schemas.asking import CreateMessage, ReplyRequest
from message_service.api.schemas.budgets import SetLimits
from message_service.errors import (
    BodyTooLarge,
    MalformedRequest,
    MessageServiceError,
    MethodNotAllowed,
    RouteNotFound,
)
from message_service.wiring.api import ApiServices

_ROUTERS = (
    messages.router,
    history.router,
    variants.router,
    replies.router,
    usage.router,
    limits.router,
    dead_letters.router,
    providers.router,
    operations.router,
)


def create_app(services: ApiServices) -> ASGIApp:
    """The application on opened services. It neither opens nor closes anything."""
    app = _routes_and_errors()
    app.state.services = services
    hot = [
        route
        for router in (messages.router, history.router, replies.router)
        for route in router.routes
        if isinstance(route, APIRoute)
        and route.endpoint in (messages.create_message, history.list_messages, replies.stream_reply)
    ]
    return Envelope(Patience(FastLane(app, hot)), services.metrics)


def openapi_document() -> dict[str, Any]:
    """The OpenAPI document, made without any service."""
    return _openapi(_routes_and_errors())


def _routes_and_errors() -> FastAPI:
    app = FastAPI(
        title="Message Service",
        version=__version__,
        openapi_url="/openapi.json",
        redoc_url=None,
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
    )
    for router in _ROUTERS:
        app.include_router(router)
    app.add_exception_handler(MessageServiceError, _answer_with_problem)
    app.add_exception_handler(HTTPException, _answer_with_problem)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = document(app, [CreateMessage, ReplyRequest, SetLimits])
    return app.openapi_schema


async def _answer_with_problem(request: Request, fault: Exception) -> Response:
    if isinstance(fault, HTTPException):
        fault = _ours(fault)
    response = problem_response(fault, instance=request.scope["path"], request_id=request_id_of(request))
    if response.status_code == 405:
        response.headers["Allow"] = ", ".join(sorted(_allowed_methods(request.scope["path"])))
    return response


def _allowed_methods(path: str) -> set[str]:
    """What a 405 must name (RFC 9110, section 15.5.6). The router itself knows the first route of a path only."""
    return {
        method
        for router in _ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and route.endpoint is not messages.edit_message and route.path_regex.match(path)
        for method in route.methods or ()
    }


def _ours(fault: HTTPException) -> MessageServiceError:
    """The framework's own refusals, in our terms."""
    match fault.status_code:
        case 404:
            return RouteNotFound()
        case 405:
            return MethodNotAllowed()
        case 413:
            return BodyTooLarge()
        case _:
            return MalformedRequest(str(fault.detail))


def _operation_id(route: APIRoute) -> str:
    return route.name
