"""What posting a message and asking for another reply have in common: how to answer, and the caller's key."""

import re
from hashlib import blake2b

import orjson
from fastapi import Request

from message_service.api.caller import Caller
from message_service.api.schemas.asking import CreateMessage, ReplyRequest
from message_service.errors import FieldFault, ValidationFailed
from message_service.messages.reply import Asked
from message_service.settings import Settings
from message_service.store.idempotency import IdempotencyClaim

_IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,255}")


def asked_of(body: ReplyRequest, settings: Settings, pointer: str) -> Asked:
    """Raises `ValidationFailed` for what this deployment cannot do."""
    if body.provider is not None and body.provider not in settings.enabled_providers:
        known = ", ".join(settings.enabled_providers)
        raise ValidationFailed([FieldFault(f"{pointer}/provider", f"Not enabled here; there are: {known}.")])
    most_tokens = settings.context_tokens // 2
    if body.max_output_tokens is not None and body.max_output_tokens > most_tokens:
        raise ValidationFailed([FieldFault(f"{pointer}/max_output_tokens", f"At most {most_tokens} here.")])
    return Asked(
        instructions=body.instructions,
        model=body.model,
        provider=body.provider,
        strategy=body.strategy,
        temperature=body.temperature,
        max_output_tokens=body.max_output_tokens,
        stop=tuple(body.stop or ()),
    )


def claim_of(
    request: Request, caller: Caller, operation: str, body: CreateMessage | ReplyRequest
) -> IdempotencyClaim | None:
    """The caller's Idempotency-Key with a digest of what was asked. Raises `ValidationFailed` for an unusable key."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    # The draft writes the key as a quoted string; many clients send it bare. Both mean the same.
    key = keys[0][1:-1] if len(keys[0]) > 2 and keys[0][0] == keys[0][-1] == '"' else keys[0]
    if len(keys) > 1 or _IDEMPOTENCY_KEY.fullmatch(key) is None:
        raise ValidationFailed([FieldFault("", "Idempotency-Key must be 1 to 255 printable ASCII characters.")])
    asked = orjson.dumps([operation, body.model_dump(mode="json")], option=orjson.OPT_SORT_KEYS)
    return IdempotencyClaim(caller.user_id, key, blake2b(asked, digest_size=16).digest())
