"""The one bound on a whole request: it refuses, it is not fooled by slow senders, and streams are free of it."""

import asyncio
from collections.abc import Awaitable, Callable

import orjson
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from message_service.api.patience import Patience
from tests.fixtures.waiting import eventually

_SECONDS = 0.05
_LONG = 5.0


async def _answer(send: Send, *, more_body: bool = False) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok", "more_body": more_body})


async def _call(
    app: ASGIApp,
    *arrivals: Callable[[], Awaitable[Message]],
    has_body: bool = False,
    sent: list[Message] | None = None,
) -> list[Message]:
    coming = iter(arrivals)
    sent = [] if sent is None else sent

    async def receive() -> Message:
        return await next(coming)()

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-length", b"2")] if has_body else []
    scope: Scope = {"type": "http", "path": "/v1/messages", "request_id": "req_1", "headers": headers}
    async with asyncio.timeout(_LONG):
        await Patience(app, seconds=_SECONDS)(scope, receive, send)
    return sent


async def _body() -> Message:
    return {"type": "http.request", "body": b"{}", "more_body": False}


async def _late_body() -> Message:
    await asyncio.sleep(_SECONDS * 3)
    return await _body()


async def test_request_is_refused_when_nothing_answers_it() -> None:
    may_end = asyncio.Event()
    was_interrupted = False

    async def app(_: Scope, receive: Receive, send: Send) -> None:
        nonlocal was_interrupted
        await receive()
        try:
            await may_end.wait()
        except asyncio.CancelledError:
            was_interrupted = True
            raise
        await _answer(send)

    sent: list[Message] = []
    answering = asyncio.create_task(_call(app, _body, has_body=True, sent=sent))

    async def is_answered() -> bool:
        return len(sent) == 2

    await eventually(is_answered, seconds=_LONG, what="the refusal is sent")
    start, body = sent
    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]
    assert orjson.loads(body["body"])["code"] == "store_unavailable"
    assert not answering.done(), "what was begun goes on"
    may_end.set()
    await answering
    assert not was_interrupted
    assert len(sent) == 2, "nobody hears what came of it"


async def test_time_it_takes_to_send_the_request_does_not_count() -> None:
    async def app(_: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await _answer(send)

    start, _ = await _call(app, _late_body, has_body=True)
    assert start["status"] == 200


async def test_stream_goes_on_when_it_has_begun_in_time() -> None:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        await _answer(send, more_body=True)
        await asyncio.sleep(_SECONDS * 3)
        await send({"type": "http.response.body", "body": b"end"})

    sent = await _call(app)
    assert [message.get("body") for message in sent] == [None, b"ok", b"end"]


async def test_a_time_out_of_the_application_itself_is_not_taken_for_ours() -> None:
    async def app(_: Scope, __: Receive, ___: Send) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await _call(app)


async def test_failure_is_not_heard_when_it_comes_too_late() -> None:
    async def breaks(_: Scope, __: Receive, ___: Send) -> None:
        await asyncio.sleep(_SECONDS * 3)
        raise RuntimeError("broken")

    start, body = await _call(breaks)
    assert start["status"] == 503
    assert orjson.loads(body["body"])["code"] == "store_unavailable"
