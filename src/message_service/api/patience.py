"""Nobody waits longer than a few seconds for the first byte of an answer, whatever the stores do.

Each call to the store has a bound of its own, but a request makes several, and shares some with requests
that came before it: their bounds add up. This is the one bound on the whole.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from message_service.api.errors import problem_response
from message_service.errors import StoreUnavailable
from message_service.logs import log

ANSWER_SECONDS = 4.5
"""From the end of the request until the answer begins; 5 s are promised, and a busy machine needs the rest."""


class Patience:
    """Answers 503 `store_unavailable` to a request that has no answer by then.

    The request itself goes on and nobody hears what comes of it: interrupting it could leave a driver's
    connection or lock behind in a state that nobody expects. So its outcome is unknown, and the same
    Idempotency-Key tells. Time spent sending the request does not count, nor does a stream once it has begun.
    """

    def __init__(self, app: ASGIApp, *, seconds: float = ANSWER_SECONDS) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, receive, send, self._seconds)

        async def receive_and_begin() -> Message:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                answer.expect()
            return message

        if not any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"]):
            answer.expect()
        try:
            await self._app(scope, receive_and_begin, answer.send)
        except Exception as fault:
            if answer.refusal is None:
                raise
            log.warning("request.failed_too_late", error=type(fault).__name__)
        finally:
            answer.stop_waiting()
            if answer.refusal is not None:
                await answer.refusal


class _Answer:
    """The answer to one request: the application's, or a refusal where that comes too late."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, seconds: float) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._seconds = seconds
        self._has_begun = False
        self._timer: asyncio.TimerHandle | None = None
        self.refusal: asyncio.Task[None] | None = None
        """Set once it is too late."""

    def expect(self) -> None:
        """From now on the clock runs."""
        if self._timer is None and not self._has_begun:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._refuse)

    def stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def send(self, message: Message) -> None:
        if self.refusal is not None:
            return
        if not self._has_begun:
            self._has_begun = True
            self.stop_waiting()
        await self._send(message)

    def _refuse(self) -> None:
        fault = StoreUnavailable("The store did not answer in time.", retry_after_seconds=1)
        response = problem_response(fault, instance=self._scope["path"], request_id=self._scope["request_id"])
        self.refusal = asyncio.create_task(response(self._scope, self._receive, self._send))
