"""Connections to providers, used again where that is safe: a TLS handshake each would delay every first token."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from types import SimpleNamespace

import aiohttp

CONNECT_TIMEOUT_SECONDS = 2.0
"""For all of it: finding the address, connecting, and the handshake of TLS."""
CLOSED_WHILE_IDLE_SECONDS = 2.0
"""A connection that breaks later after a request was sent on it had not been closed by then: the server had read it."""
IDLE_SECONDS = 60.0
"""A server that closes earlier is noticed."""
END_OF_BODY_SECONDS = 1.0
"""After a stream's end marker its connection is used again only if the body ends within this time."""

_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_SECONDS)


@dataclass(slots=True)
class _Sending:
    """One try at a request."""

    is_reused: bool = False
    """Whether its connection had carried another before."""


class StreamConnector(aiohttp.TCPConnector):
    """Knows how many event streams are being read."""

    open_streams = 0


def provider_session() -> aiohttp.ClientSession:
    """The session that adapters are lent; call it in the loop. There may be as many connections as running replies."""
    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(_note_reuse)
    connector = StreamConnector(limit=0, keepalive_timeout=IDLE_SECONDS)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[trace])


async def send(
    session: aiohttp.ClientSession, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None
) -> aiohttp.ClientResponse:
    """The answer's head. Raises what aiohttp raises.

    A server may close an idle connection in the moment in which a request is sent on it, which says nothing about
    either; such a request is sent again, once. (RFC 9110, 9.2.2: a POST only where that is known to do no harm, and
    to ask a model changes nothing.) One that failed on a connection of its own is not, nor one that the server may
    have worked on: it would fail at it again, and bill it again.
    """
    clock = asyncio.get_running_loop().time
    may_send_again = True
    while True:
        sending, sent_at = _Sending(), clock()
        try:
            return await session.request(
                method,
                url,
                data=None if body is None else BytesIO(body),
                headers=headers,
                timeout=_TIMEOUT,
                allow_redirects=False,
                trace_request_ctx=sending,
            )
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            is_closed_idle = sending.is_reused and clock() - sent_at < CLOSED_WHILE_IDLE_SECONDS
            if not (may_send_again and is_closed_idle):
                raise
            may_send_again = False


def leave(response: aiohttp.ClientResponse, *, is_whole: bool) -> None:
    """End an answer without waiting. `is_whole`: all that matters of it was read, and only its body's end may follow.

    aiohttp takes the connection back by itself once the body ends, reading no more than its buffer holds (128 KiB);
    a body that does not end in time is cut off, and so is any that is not whole, which is what stops a provider.
    """
    if response.closed or not is_whole:
        response.close()
        return
    closing = asyncio.get_running_loop().call_later(END_OF_BODY_SECONDS, response.close)
    response.content.on_eof(closing.cancel)


async def _note_reuse(
    _: aiohttp.ClientSession, context: SimpleNamespace, __: aiohttp.TraceConnectionReuseconnParams
) -> None:
    sending = context.trace_request_ctx
    if isinstance(sending, _Sending):
        sending.is_reused = True
