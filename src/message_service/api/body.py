"""Reads JSON bodies and query strings into checked models."""

import json
import re
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import Request

from message_service.api.context import services_of
from message_service.errors import BodyTooLarge, FieldFault, MalformedRequest, ValidationFailed

Model = TypeVar("Model", bound=BaseModel)

_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_MOST_FAULTS_TOLD = 20
_TIMES_TOO_LARGE_READ = 8


async def read_json(request: Request, model: type[Model]) -> Model:
    """The body as `model`. Raises `MalformedRequest`, `ValidationFailed`, `BodyTooLarge`."""
    media_type = request.headers.get("content-type", "").partition(";")[0]
    if media_type.strip().lower() != "application/json":
        raise MalformedRequest("Send the body as application/json.")
    body = await _read(request, most_bytes=services_of(request).settings.max_body_bytes)
    try:
        return model.model_validate_json(body)
    except ValidationError as fault:
        errors = fault.errors(include_url=False, include_context=False)
    if errors[0]["type"] != "json_invalid":
        raise _failed(errors)
    if _SURROGATE_ESCAPE.search(body):
        return check(model, _without_lone_surrogates(body))
    raise MalformedRequest(f"The body is not JSON: {errors[0]['msg'].removeprefix('Invalid JSON: ')}.")


async def _read(request: Request, *, most_bytes: int) -> bytes:
    """The whole body. Raises `BodyTooLarge`.

    What is too large is read on and dropped, within reason: a sender whose connection is closed while it
    still sends gets a reset and never the refusal.
    """
    chunks: list[bytes] = []
    read_bytes = 0
    async for chunk in request.stream():
        read_bytes += len(chunk)
        if read_bytes <= most_bytes:
            chunks.append(chunk)
        elif read_bytes > most_bytes * _TIMES_TOO_LARGE_READ:
            break
    if read_bytes > most_bytes:
        raise BodyTooLarge(f"The body has more than {most_bytes:,} bytes.")
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def check(model: type[Model], value: object) -> Model:
    """`value` as `model`. Raises `ValidationFailed`."""
    try:
        return model.model_validate_json(orjson.dumps(value))
    except ValidationError as fault:
        raise _failed(fault.errors(include_url=False, include_context=False)) from None


def once_each(request: Request) -> dict[str, str]:
    """The query parameters. Raises `ValidationFailed` for one that comes twice: which is meant?"""
    values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in values:
            raise ValidationFailed([FieldFault(f"/{name}", "Given more than once.")])
        values[name] = value
    return values


def check_query(model: type[Model], values: dict[str, str]) -> Model:
    """Query parameters as `model`, text turned into numbers and times. Raises `ValidationFailed`."""
    try:
        return model.model_validate_strings(values)
    except ValidationError as fault:
        raise _failed(fault.errors(include_url=False, include_context=False)) from None


def _without_lone_surrogates(body: bytes) -> Any:
    """JavaScript may cut an emoji in half and escape the half; strict parsers refuse it, and we drop it."""
    try:
        return orjson.loads(_LONE_SURROGATE.sub("", json.dumps(json.loads(body), ensure_ascii=False)))
    except (ValueError, RecursionError):
        raise MalformedRequest("The body is not JSON.") from None


def _failed(errors: list[ErrorDetails]) -> ValidationFailed:
    return ValidationFailed([FieldFault(_pointer(error["loc"]), error["msg"]) for error in errors[:_MOST_FAULTS_TOLD]])


def _pointer(location: tuple[int | str, ...]) -> str:
    """RFC 6901."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location if part != "[key]")
