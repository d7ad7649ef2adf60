"""Nobody waits longer than a few seconds for the first byte of an answer, whatever the stores do.

Each call to the store has a bound of its own, but a request makes several, and shares some with requests
that came before it: their bounds add up. This is the one bound on the whole.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from message_service.api.errors import problem_response
from message_service.errors import StoreUnavailable

ANSWER_SECONDS = 4.5
"""From the end of the request until the answer begins; 5 s are promised, and a busy machine needs the rest."""


class Patience:
    """Ends a request that has no answer by then with 503 `store_unavailable`.

    Time spent sending the request does not count, nor does a stream once it has begun. A write that was
    under way goes on or not; its outcome is unknown, and the same Idempotency-Key tells.
    """

    def __init__(self, app: ASGIApp, *, seconds: float = ANSWER_SECONDS) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        loop = asyncio.get_running_loop()
        has_begun = False

        async def receive_and_begin() -> Message:
            message = await receive()
            is_whole = message["type"] == "http.request" and not message.get("more_body")
            if is_whole and not has_begun and not patience.expired():
                patience.reschedule(loop.time() + self._seconds)
            return message

        async def send_and_end(message: Message) -> None:
            nonlocal has_begun
            if not has_begun:
                if patience.expired():
                    raise TimeoutError  # what was interrupted made an error of it, and answers with that
                has_begun = True
                patience.reschedule(None)
            await send(message)

        try:
            has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
            async with asyncio.timeout(None if has_body else self._seconds) as patience:
                await self._app(scope, receive_and_begin, send_and_end)
        except Exception:
            # Not only TimeoutError: a driver that is interrupted may break in ways of its own.
            if has_begun or not patience.expired():
                raise
            fault = StoreUnavailable("The store did not answer in time.", retry_after_seconds=1)
            response = problem_response(fault, instance=scope["path"], request_id=scope["request_id"])
            await response(scope, receive, send)
