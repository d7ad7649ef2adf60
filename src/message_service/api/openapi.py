"""What the routes' signatures cannot say in the OpenAPI document, because hot routes read requests themselves."""

from collections import defaultdict
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from message_service import errors
from message_service.api.errors import PROBLEM_TYPE, TABLE
from message_service.api.schemas.events import EVENTS
from message_service.api.schemas.problems import ProblemShape
from message_service.errors import MessageServiceError

_DESCRIPTION = (
    "Stores the messages of a character-chat platform and answers them. A 2xx to a post means that the message is "
    "kept and that exactly one outcome of its reply will be. After a 5xx or a lost connection the outcome is unknown: "
    "repeat the request with the same `Idempotency-Key`."
)
_TAGS = [
    {"name": "messages", "description": "Facts: stored once, never edited, softly deleted."},
    {"name": "replies", "description": "The work of answering, and watching it."},
    {"name": "usage", "description": "What replies used and cost."},
    {"name": "operations", "description": "For whoever runs the service."},
]
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Repeating a request with the same key within a day answers the first result and costs nothing.",
}


EVERYWHERE = (errors.IdentityMissing, errors.IdentityInvalid, errors.StoreUnavailable)
"""What every route under /v1 may answer."""
READING_A_BODY = (errors.MalformedRequest, errors.ValidationFailed, errors.BodyTooLarge)
ASKING_FOR_A_REPLY = (
    errors.IdempotencyKeyReused,
    errors.IdempotencyInProgress,
    errors.ConversationFull,
    errors.RateLimited,
    errors.QuotaExceeded,
    errors.Overloaded,
)


def problems(*faults: type[MessageServiceError]) -> dict[int | str, dict[str, Any]]:
    """The error answers of a route, with the codes that it can give for each status."""
    codes: defaultdict[int, list[str]] = defaultdict(list)
    for fault in faults:
        status, code = TABLE[fault]
        codes[status].append(code)
    return {
        status: {
            "description": ", ".join(f"`{code}`" for code in codes[status]),
            "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted(codes)
    }


def event_stream() -> dict[str, Any]:
    """The content of a stream. OpenAPI 3.1 has no words for events, so what they carry is in an extension."""
    events = {name: {"$ref": f"#/components/schemas/{_name_of(model)}"} for name, model in EVENTS.items()}
    return {"text/event-stream": {"schema": {"type": "string"}, "x-events": events}}


def request_body(model: type[BaseModel], *, takes_idempotency_key: bool) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{model.__name__}"}
    extra: dict[str, Any] = {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}
    if takes_idempotency_key:
        extra["parameters"] = [_IDEMPOTENCY_KEY]
    return extra


def query_parameters(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    required = schema.get("required", [])
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": name in required,
                "description": field.pop("description", ""),
                "schema": field,
            }
            for name, field in schema["properties"].items()
        ]
    }


def document(app: FastAPI, incoming: list[type[BaseModel]]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of `app`, whose hand-read bodies are `incoming`."""
    made = get_openapi(
        title=app.title,
        version=app.version,
        summary="Keeps and answers the messages of a character-chat platform.",
        description=_DESCRIPTION,
        routes=app.routes,
        tags=_TAGS,
        servers=[{"url": "/"}],
        license_info={"name": "MIT", "identifier": "MIT"},
    )
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    models: list[type[BaseModel]] = [*incoming, *EVENTS.values(), ProblemShape]
    named = {_name_of(model): model for model in models}
    for name, model in named.items():
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[name] = schema
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = {
        "user": {"type": "apiKey", "in": "header", "name": "X-User-Id"},
        "gateway": {"type": "apiKey", "in": "header", "name": "X-Gateway-Key"},
    }
    for path, operations in made["paths"].items():
        for operation in operations.values():
            # FastAPI adds its own validation error, which no route of ours answers.
            if "HTTPValidationError" in str(operation["responses"].get("422", "")):
                del operation["responses"]["422"]
            operation["security"] = [{"user": []}, {"user": [], "gateway": []}] if path.startswith("/v1/") else []
    return made


def _name_of(model: type[BaseModel]) -> str:
    return "Problem" if model is ProblemShape else model.__name__
