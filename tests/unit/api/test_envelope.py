"""What every answer gets, and what a request is told that the server cuts short."""

import asyncio

import orjson
from starlette.types import Message, Receive, Scope, Send

from message_service.api.envelope import Envelope
from message_service.metrics import Metrics


async def cut_short(*, has_begun: bool) -> list[Message]:
    """What a client is sent whose request is under way when the server goes."""
    sent: list[Message] = []

    async def app(_: Scope, __: Receive, send: Send) -> None:
        if has_begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {"type": "http", "method": "POST", "path": "/v1/messages", "headers": []}
    request = asyncio.ensure_future(Envelope(app, Metrics())(scope, receive, send))
    await asyncio.sleep(0)
    request.cancel()
    await request
    return sent


async def test_request_is_told_to_come_back_when_the_server_goes_away() -> None:
    start, body = await cut_short(has_begun=False)
    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]
    assert orjson.loads(body["body"])["code"] == "store_unavailable"


async def test_nothing_is_added_when_the_answer_has_begun() -> None:
    assert [message["type"] for message in await cut_short(has_begun=True)] == ["http.response.start"]
