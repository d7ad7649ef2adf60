"""Who is asking, by the headers of the trusted gateway."""

import hmac
import re
from dataclasses import dataclass
from enum import StrEnum

from pydantic import SecretStr
from starlette.requests import Request

from message_service.errors import Forbidden, IdentityInvalid, IdentityMissing
from message_service.ids import EXTERNAL_ID_PATTERN, UserId

_USER_ID = re.compile(EXTERNAL_ID_PATTERN)


class CallerRole(StrEnum):
    ADMIN = "admin"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Caller:
    user_id: UserId
    roles: frozenset[str]

    def require(self, role: CallerRole, to: str) -> None:
        """Raises `Forbidden` unless the caller has the role."""
        if role not in self.roles:
            raise Forbidden(f"The role {role} is needed to {to}.")


def identify(request: Request, gateway_key: SecretStr | None) -> Caller:
    """The caller. Raises `IdentityMissing` or `IdentityInvalid`.

    A header that comes twice is refused: a gateway sets it once, so somebody else added the other.
    """
    user_ids: list[str] = []
    keys: list[str] = []
    roles: list[str] = []
    for name, value in request.scope["headers"]:
        if name == b"x-user-id":
            user_ids.append(value.decode("latin-1"))
        elif name == b"x-gateway-key":
            keys.append(value.decode("latin-1"))
        elif name == b"x-user-roles":
            roles.append(value.decode("latin-1"))
    if gateway_key is not None:
        expected = gateway_key.get_secret_value().encode()
        if len(keys) != 1 or not hmac.compare_digest(keys[0].encode("latin-1"), expected):
            raise IdentityInvalid("X-Gateway-Key is missing or wrong.")
    if not user_ids:
        raise IdentityMissing
    if len(user_ids) > 1 or len(roles) > 1:
        raise IdentityInvalid("An identity header was sent more than once.")
    if _USER_ID.fullmatch(user_ids[0]) is None:
        raise IdentityInvalid("X-User-Id must be 1 to 128 visible ASCII characters.")
    named = frozenset(part.strip() for part in roles[0].split(",")) if roles else frozenset()
    return Caller(UserId(user_ids[0]), named)
