"""HTTP to a provider: a POST whose answer is a stream of events, a GET whose answer is JSON. Nothing foreign leaves."""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Self

import aiohttp
import orjson

from message_service.errors import ProviderConnectFailed, ProviderError, ProviderTimeout, StreamCut
from message_service.gathering import gathering_seconds
from message_service.providers.connections import CONNECT_TIMEOUT_SECONDS, StreamConnector, leave, send
from message_service.providers.faults import classify, read_complaint
from message_service.providers.retry_after import retry_after_seconds
from message_service.providers.sse import SseEvent, SseEventTooLarge, SseParser

ERROR_BODY_TIMEOUT_SECONDS = 2.0
MAX_ERROR_BODY_BYTES = 65_536
MAX_JSON_BODY_BYTES = 4_194_304
KEY_HEADERS = ("Authorization", "x-api-key")
_HIDDEN = "[key]"
_SHORTEST_KEY = 4

_FOREIGN = (aiohttp.ClientError, OSError, RuntimeError, SseEventTooLarge)
"""What aiohttp and the socket raise; RuntimeError when the session or the connection was closed under us."""


class EventResponse:
    """The events of one open answer."""

    def __init__(self, provider: str, response: aiohttp.ClientResponse, connector: StreamConnector) -> None:
        self._provider = provider
        self._response = response
        self._connector = connector
        self._parser = SseParser()
        self.is_whole = False
        """Whether all that matters was read: the connection may be used again once the body ends."""
        self._loop = asyncio.get_running_loop()
        self._deadline = math.inf
        self._alarm: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        self._connector.open_streams += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._connector.open_streams -= 1
        if self._alarm is not None:
            self._alarm.cancel()

    async def read(self, deadline: float) -> list[SseEvent] | None:
        """The events that arrived, perhaps none; None at the end of the body. `deadline` is on the loop's clock.

        Raises `ProviderTimeout`, and `StreamCut` when the connection breaks or an event is too large. Read no more
        then.
        """
        self._deadline = deadline
        if self._alarm is None or self._alarm.when() > deadline:
            self._set_alarm(deadline)
        try:
            chunk = await self._response.content.readany()
            return self._parser.feed(chunk) if chunk else None
        except _FOREIGN as fault:
            raise _ours(self._provider, fault) from fault
        finally:
            self._deadline = math.inf

    async def gather(self) -> None:
        """Leave what comes next with the kernel for a while, so that one read brings much."""
        connection = self._response.connection
        transport = connection.transport if connection is not None else None
        if transport is None or transport.is_closing():
            return  # nothing more comes
        try:
            transport.pause_reading()
            await asyncio.sleep(gathering_seconds(self._connector.open_streams))
        finally:
            if not transport.is_closing():
                transport.resume_reading()

    def _set_alarm(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(at, self._look_at_the_clock)

    def _look_at_the_clock(self) -> None:
        """One timer that seldom rings, rather than one for each read."""
        self._alarm = None
        if self._deadline == math.inf:
            return
        if self._loop.time() < self._deadline:
            self._set_alarm(self._deadline)
        else:
            self._response.content.set_exception(TimeoutError())


@asynccontextmanager
async def post_for_events(
    session: aiohttp.ClientSession,
    url: str,
    *,
    provider: str,
    headers: Mapping[str, str],
    body: bytes,
    deadline: float,
) -> AsyncIterator[EventResponse]:
    """Open a stream; leaving the context closes its connection at once, which is what stops a provider.

    Unless the stream is whole by then: see `connections.leave`.

    `deadline` for the head of the answer is on the loop's clock. Raises `ProviderError`.
    """
    connector = session.connector
    try:
        if not isinstance(connector, StreamConnector):
            raise RuntimeError("the session is closed, or none of `provider_session`")
        async with asyncio.timeout_at(deadline):
            response = await send(
                session,
                "POST",
                url,
                headers={
                    **headers,
                    "Content-Type": "application/json",
                    "Accept": "text/event-stream",
                    "Accept-Encoding": "identity",
                },
                body=body,
            )
    except _FOREIGN as fault:
        raise _ours(provider, fault, is_answered=False) from fault
    events = EventResponse(provider, response, connector)
    try:
        if response.status != 200 or not _may_be_event_stream(response):
            raise await _refusal(provider, response)
        with events:
            yield events
    except ProviderError as fault:
        _hide_keys(fault, headers)
        raise
    finally:
        leave(response, is_whole=events.is_whole)


async def get_json(
    session: aiohttp.ClientSession, url: str, *, provider: str, headers: Mapping[str, str], timeout_seconds: float
) -> object:
    """The JSON at `url`. Raises `ProviderError`; its `status` is the answer's."""
    return await _json(session, "GET", url, provider=provider, headers=headers, timeout_seconds=timeout_seconds)


async def post_json(
    session: aiohttp.ClientSession,
    url: str,
    *,
    provider: str,
    headers: Mapping[str, str],
    body: bytes,
    timeout_seconds: float,
) -> object:
    """The JSON that answers `body`. Raises `ProviderError`; its `status` is the answer's."""
    return await _json(
        session,
        "POST",
        url,
        provider=provider,
        headers={**headers, "Content-Type": "application/json"},
        timeout_seconds=timeout_seconds,
        body=body,
    )


async def _json(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    provider: str,
    headers: Mapping[str, str],
    timeout_seconds: float,
    body: bytes | None = None,
) -> object:
    try:
        async with (
            asyncio.timeout(timeout_seconds),
            await send(session, method, url, headers=headers, body=body) as response,
        ):
            if response.status != 200:
                raise await _refusal(provider, response)
            return orjson.loads(await _read_at_most(response, MAX_JSON_BODY_BYTES))
    except orjson.JSONDecodeError as fault:
        raise ProviderConnectFailed(
            "What answers at the provider's address is not the API expected there: check its URL.",
            provider=provider,
            status=200,
        ) from fault
    except ProviderError as fault:
        _hide_keys(fault, headers)
        raise
    except _FOREIGN as fault:
        raise _ours(provider, fault, is_answered=False) from fault


def _may_be_event_stream(response: aiohttp.ClientResponse) -> bool:
    declared = response.headers.get("Content-Type", "")
    return not declared or declared.lower().startswith("text/event-stream")


async def _refusal(provider: str, response: aiohttp.ClientResponse) -> ProviderError:
    """The error that an answer which is no stream stands for; its body counts as far as it comes."""
    body = b""
    try:
        async with asyncio.timeout(ERROR_BODY_TIMEOUT_SECONDS):
            body = await _read_at_most(response, MAX_ERROR_BODY_BYTES)
    except _FOREIGN:
        pass  # the status alone has to do
    complaint = read_complaint(body)
    if response.status == 200 and complaint is None:
        return StreamCut("The provider answered 200, but not with a stream.", provider=provider, status=200)
    return classify(provider, response.status, complaint, retry_after_seconds=retry_after_seconds(response.headers))


async def _read_at_most(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    body = bytearray()
    while len(body) < max_bytes and (chunk := await response.content.readany()):
        body += chunk
    return bytes(body[:max_bytes])


def _ours(provider: str, fault: BaseException, *, is_answered: bool = True) -> ProviderError:
    """The error of our tree for one of `_FOREIGN`. `is_answered`: the head of the answer had come."""
    match fault:
        case aiohttp.ConnectionTimeoutError():
            detail = f"The provider cannot be reached: no connection within {CONNECT_TIMEOUT_SECONDS:g} s."
            return ProviderConnectFailed(detail, provider=provider)
        case TimeoutError():
            silence = "" if is_answered else " It sent nothing at all."
            return ProviderTimeout(ProviderTimeout.sentence + silence, provider=provider)
        case SseEventTooLarge():
            return StreamCut("The provider sent an event that is too large.", provider=provider)
        case aiohttp.ClientSSLError():
            detail = "The provider's address has no certificate that this machine trusts: nothing was sent to it."
            return ProviderConnectFailed(detail, provider=provider)
        case aiohttp.ClientConnectorError() | aiohttp.InvalidURL() | aiohttp.ClientResponseError():
            return ProviderConnectFailed(provider=provider)
        case _ if not is_answered:
            return StreamCut("The provider closed the connection without an answer.", provider=provider)
        case _:
            return StreamCut(provider=provider)


def _hide_keys(fault: ProviderError, headers: Mapping[str, str]) -> None:
    """Take our key out of a provider's own words, which an error may quote and cut off anywhere."""
    for name in KEY_HEADERS:
        key = headers.get(name, "").removeprefix("Bearer ")
        if len(key) < _SHORTEST_KEY:
            continue
        detail = fault.detail.replace(key, _HIDDEN)
        cut = next((size for size in range(len(key) - 1, _SHORTEST_KEY - 1, -1) if detail.endswith(key[:size])), 0)
        fault.detail = detail[: len(detail) - cut] + (_HIDDEN if cut else "")
        fault.args = (fault.detail,)
