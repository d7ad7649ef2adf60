"""How a route gets at the services and at who is asking."""

from typing import cast

from starlette.requests import Request

from message_service.api.caller import Caller, identify
from message_service.errors import MessageNotFound
from message_service.ids import MessageId, is_own_id
from message_service.wiring.api import ApiServices


def services_of(request: Request) -> ApiServices:
    return cast(ApiServices, request.app.state.services)


def caller_of(request: Request) -> Caller:
    """Raises `IdentityMissing` or `IdentityInvalid`."""
    return identify(request, services_of(request).settings.gateway_key)


def request_id_of(request: Request) -> str:
    return cast(str, request.scope["request_id"])


def message_id_of(text: str) -> MessageId:
    """A path's message id. Raises `MessageNotFound` for what cannot be one."""
    if not is_own_id(text):
        raise MessageNotFound
    return MessageId(text)
