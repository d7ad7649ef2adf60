"""JSON answers of the message routes."""

from typing import Any

import orjson
from starlette.responses import Response

from message_service.api.errors import rate_limit_headers
from message_service.api.wire import message_json, reply_json
from message_service.journey.submit import Receipt


def json_response(content: dict[str, Any], *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers=headers, media_type="application/json")


def receipt_response(receipt: Receipt) -> Response:
    accepted = receipt.accepted
    reply = reply_json(accepted.reply, position=accepted.position) if accepted.reply is not None else None
    headers = {"Location": f"/v1/messages/{accepted.message.id}"}
    if receipt.allowance is not None:
        allowance = receipt.allowance
        headers |= rate_limit_headers(allowance.limit, allowance.remaining, allowance.reset_seconds)
    if accepted.is_replay:
        headers["Idempotent-Replayed"] = "true"
    return json_response(
        {"message": message_json(accepted.message), "reply": reply},
        status=201 if reply is None else 202,
        headers=headers,
    )
