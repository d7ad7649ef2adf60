"""Many clients that come together and leave in the middle of a request. None of them posts anything whole."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from tests.chaos.proxy import abort_with_reset

_CLIENTS = 100
_LONGEST_STAY_SECONDS = 0.5
_REQUESTS = (
    # The body that is announced never comes whole.
    b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nX-User-Id: storm\r\nContent-Type: application/json\r\n"
    b'Content-Length: 200\r\n\r\n{"conversation_id": "storm", "content": "half a',
    b"GET /v1/messages?conversation_id=storm HTTP/1.1\r\nHost: x\r\nX-User-Id: storm\r\n\r\n",
    b"GET /v1/replies/msg_00000000000000000000000000/stream HTTP/1.1\r\nHost: x\r\nX-User-Id: storm\r\n\r\n",
    b"GET /health/ready HTTP/1.1\r\nHos",
)


async def disconnect_storm(urls: Sequence[str], dice: random.Random) -> None:
    """Over when all have left again."""
    await asyncio.gather(
        *(
            _come_and_leave(
                urlsplit(dice.choice(urls)).port or 0,
                dice.choice(_REQUESTS),
                seconds=dice.random() * _LONGEST_STAY_SECONDS,
                is_rude=dice.random() < 0.5,
            )
            for _ in range(_CLIENTS)
        )
    )


async def _come_and_leave(port: int, request: bytes, *, seconds: float, is_rude: bool) -> None:
    with suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            await writer.drain()
            await asyncio.sleep(seconds)
        finally:
            if is_rude:
                abort_with_reset(writer)
            else:
                writer.transport.abort()
