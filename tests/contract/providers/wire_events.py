"""Streams of the vendors' own dialects, event by event, for servers that misbehave."""

import orjson

USAGE = {"input_tokens": 12, "output_tokens": 7}


def named(kind: str, **fields: object) -> bytes:
    """An event with its type beside it and inside it, as both vendors send them."""
    return f"event: {kind}\ndata: ".encode() + orjson.dumps({"type": kind, **fields}) + b"\n\n"


def responses_start(model: str = "tiny") -> bytes:
    return named("response.created", response={"id": "resp_1", "status": "in_progress", "model": model, "output": []})


def responses_text(text: str) -> bytes:
    return named("response.output_text.delta", item_id="msg_1", output_index=0, content_index=0, delta=text)


def responses_end(status: str = "completed", **fields: object) -> bytes:
    response = {"id": "resp_1", "status": status, "model": "tiny", "output": [], "usage": USAGE, **fields}
    return named(f"response.{status}", response=response)


def messages_start(model: str = "tiny", **usage: int) -> bytes:
    counts = {"input_tokens": 12, "output_tokens": 1, **usage}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": model, "usage": counts}
    return named("message_start", message=message)


def messages_text(text: str) -> bytes:
    return named("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def messages_reason(reason: str | None = "end_turn", **usage: object) -> bytes:
    return named("message_delta", delta={"stop_reason": reason}, usage={"output_tokens": 7, **usage})


MESSAGES_END = messages_reason() + named("message_stop")

_OUTPUT = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}]

WHOLE: dict[str, tuple[bytes, ...]] = {
    "responses": (responses_start(), responses_text("Hel"), responses_text("lo"), responses_end(output=_OUTPUT)),
    "messages": (
        messages_start(),
        named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        messages_text("Hel"),
        named("ping"),
        messages_text("lo"),
        named("content_block_stop", index=0),
        MESSAGES_END,
    ),
}
"""A reply that says "Hello"; its end marker is in the last piece."""
