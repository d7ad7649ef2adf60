"""What one user may ask for, use, and has used: their own for anyone, everybody's for admins."""

import re
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from message_service.api.answers import json_response
from message_service.api.body import read_json
from message_service.api.caller import CallerRole
from message_service.api.context import caller_of, services_of
from message_service.api.openapi import EVERYWHERE, READING_A_BODY, problems, request_body
from message_service.api.schemas.budgets import BudgetShape, OwnLimitsShape, SetLimits
from message_service.clock import rfc3339
from message_service.errors import BudgetsOff, FieldFault, Forbidden, ValidationFailed
from message_service.ids import EXTERNAL_ID_PATTERN, UserId
from message_service.logs import log
from message_service.messages.budget import Account, Limits, Span
from message_service.wiring.api import ApiServices

router = APIRouter(prefix="/v1", tags=["usage"])

_USER_ID = re.compile(EXTERNAL_ID_PATTERN)


@router.get(
    "/limits",
    summary="What the caller may ask for and use",
    description="Messages that may be posted in any minute, and budgets of tokens and money, with what is left of "
    "them, where the service keeps them.",
    response_model=None,
    responses={200: {"model": OwnLimitsShape}, **problems(*EVERYWHERE)},
)
async def get_own_limits(request: Request) -> Response:
    services, user = services_of(request), caller_of(request).user_id
    content: dict[str, Any] = {"object": "limits", "messages_per_minute": services.desk.rate.limit}
    if services.settings.are_budgets_kept:
        content["budget"] = _budget_json(user, await services.accounts.find(user), services.limits)
    return json_response(content)


@router.get(
    "/admin/limits/{user_id}",
    summary="A user's budget, and what is left of it",
    response_model=None,
    responses={200: {"model": BudgetShape}, **problems(*EVERYWHERE, Forbidden, BudgetsOff, ValidationFailed)},
)
async def get_limits(request: Request, user_id: str) -> Response:
    services, user = _admitted(request, user_id)
    return json_response(_budget_json(user, await services.accounts.find(user), services.limits))


@router.put(
    "/admin/limits/{user_id}",
    summary="Give a user a budget of their own",
    description="It stands in for everybody's as a whole: what is left out has no limit.",
    response_model=None,
    responses={200: {"model": BudgetShape}, **problems(*EVERYWHERE, *READING_A_BODY, Forbidden, BudgetsOff)},
    openapi_extra=request_body(SetLimits, takes_idempotency_key=False),
)
async def put_limits(request: Request, user_id: str) -> Response:
    services, user = _admitted(request, user_id)
    body, by = await read_json(request, SetLimits), caller_of(request).user_id
    account = await services.accounts.set_limits(user, Limits(**body.model_dump()), by=by)
    log.info("limits.set", user=user, by=by, **body.model_dump())
    return json_response(_budget_json(user, account, services.limits))


@router.delete(
    "/admin/limits/{user_id}",
    status_code=204,
    summary="Take a user's own budget back: everybody's holds again",
    response_model=None,
    responses={
        204: {"description": "They have none, now or before."},
        **problems(*EVERYWHERE, Forbidden, BudgetsOff, ValidationFailed),
    },
)
async def delete_limits(request: Request, user_id: str) -> Response:
    services, user = _admitted(request, user_id)
    by = caller_of(request).user_id
    await services.accounts.clear_limits(user, by=by)
    log.info("limits.cleared", user=user, by=by)
    return Response(status_code=204)


def _admitted(request: Request, user_id: str) -> tuple[ApiServices, UserId]:
    """Raises `Forbidden`, `BudgetsOff`, `ValidationFailed`."""
    services = services_of(request)
    caller_of(request).require(CallerRole.ADMIN, "look after budgets")
    if not services.settings.are_budgets_kept:
        raise BudgetsOff
    if _USER_ID.fullmatch(user_id) is None:
        raise ValidationFailed([FieldFault("/user_id", "Must be 1 to 128 visible ASCII characters.")])
    return services, UserId(user_id)


def _budget_json(user: UserId, account: Account, defaults: Limits) -> dict[str, Any]:
    limits = account.own_limits or defaults
    return {
        "user_id": user,
        "is_own": account.own_limits is not None,
        "limits": asdict(limits),
        "day": _span_json(account.day, limits),
        "month": _span_json(account.month, limits),
    }


def _span_json(span: Span, limits: Limits) -> dict[str, Any]:
    tokens, cost_nano_usd = span.remaining(limits)
    return {
        "name": span.name,
        "used": asdict(span.used),
        "reserved": asdict(span.reserved),
        "remaining": {"tokens": tokens, "cost_nano_usd": cost_nano_usd},
        "resets_at": rfc3339(span.period.end_of(span.name)),
    }
