"""Watches one reply to its end, as a browser does that loses its connection now and then and comes back elsewhere."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp
import orjson

from tests.chaos.caller import CANARY, NO_ANSWER, Answer, Caller
from tests.chaos.history import Action, SeenEvent, digest
from tests.fixtures.client import ENDINGS, StreamEvent, Watch

_PATIENCE_SECONDS = 60.0
_SILENCE_SECONDS = 20.0
"""A comment comes every 15 s at the latest; without one the connection is dead."""
_PAUSE_SECONDS = 0.3
_CUT_SHARE = 0.3


@dataclass(slots=True)
class _Seen:
    events: list[SeenEvent] = field(default_factory=list)
    text: str = ""
    connection: int = 0
    canaries: set[str] = field(default_factory=set)

    @property
    def is_over(self) -> bool:
        return bool(self.events) and self.events[-1].name in ENDINGS

    def take(self, event: StreamEvent) -> None:
        piece = event.content["text"] if event.name == "reply.delta" else ""
        if event.name == "reply.reset":
            self.text = ""
        self.text += piece
        self.events.append(
            SeenEvent(position=event.id, name=event.name, characters=len(piece), connection=self.connection)
        )
        self.canaries |= {found.decode() for found in CANARY.findall(orjson.dumps(event.content))}


async def watch(
    caller: Caller,
    urls: Sequence[str],
    user: str,
    reply_id: str,
    *,
    dice: random.Random,
    may_be_hidden: Callable[[], bool],
) -> None:
    """One operation in the history, whatever happens on the way."""
    operation = caller.begin(Action.WATCH, user, target=reply_id)
    seen = _Seen()
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            status = await _until_over(caller, urls, user, reply_id, seen, dice)
    except TimeoutError:
        status = None
    if status == 204 and may_be_hidden():
        # Whoever saw text that was hidden since is told that nothing follows.
        status = None
    caller.end(
        operation,
        Answer(status),
        text=digest(seen.text),
        events=tuple(seen.events),
        canaries=tuple(sorted(seen.canaries)),
        reply_status=seen.events[-1].name.removeprefix("reply.") if seen.is_over else None,
    )


async def _until_over(
    caller: Caller, urls: Sequence[str], user: str, reply_id: str, seen: _Seen, dice: random.Random
) -> int:
    """The status of the last answer: 200 when the end was seen."""
    while True:
        cut_after = dice.randint(1, 8) if dice.random() < _CUT_SHARE else None
        headers = {"X-User-Id": user}
        if seen.events:
            headers["Last-Event-ID"] = seen.events[-1].position
        try:
            async with caller.session.get(
                f"{dice.choice(urls)}/v1/replies/{reply_id}/stream",
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=_SILENCE_SECONDS),
            ) as response:
                if response.status == 200:
                    await _read(response, seen, cut_after)
                elif response.status < 500:
                    return response.status
        except NO_ANSWER:
            pass  # back again, wherever
        if seen.is_over:
            return 200
        seen.connection += 1
        await asyncio.sleep(_PAUSE_SECONDS * dice.random())


async def _read(response: aiohttp.ClientResponse, seen: _Seen, cut_after: int | None) -> None:
    stream = Watch(response)
    taken = 0
    while not seen.is_over and (event := await stream.next()) is not None:
        seen.take(event)
        taken += 1
        if taken == cut_after and not seen.is_over:
            response.close()
            return
