"""The one bound on a whole request: it refuses, it is not fooled by slow senders, and streams are free of it."""

import asyncio
from collections.abc import Awaitable, Callable

import orjson
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from message_service.api.patience import Patience

_SECONDS = 0.05
_LONG = 5.0


async def _answer(send: Send, *, more_body: bool = False) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok", "more_body": more_body})


async def _call(app: ASGIApp, *arrivals: Callable[[], Awaitable[Message]], has_body: bool = False) -> list[Message]:
    coming = iter(arrivals)
    sent: list[Message] = []

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
    was_stopped = False

    async def app(_: Scope, receive: Receive, __: Send) -> None:
        nonlocal was_stopped
        await receive()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            was_stopped = True
            raise

    start, body = await _call(app, _body, has_body=True)
    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]
    assert orjson.loads(body["body"])["code"] == "store_unavailable"
    assert was_stopped


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


async def test_request_is_refused_as_too_late_when_its_interruption_breaks_something() -> None:
    async def breaks(_: Scope, __: Receive, ___: Send) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise RuntimeError("Lock is not acquired") from None

    async def answers_with_it(_: Scope, __: Receive, send: Send) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await _answer(send)

    for app in (breaks, answers_with_it):
        start, body = await _call(app)
        assert start["status"] == 503
        assert orjson.loads(body["body"])["code"] == "store_unavailable"
