"""One request for a streamed reply, read to its end within its deadlines, whatever the dialect."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

import aiohttp
import orjson

from message_service.errors import ProviderError, ProviderRequestInvalid, ProviderTimeout
from message_service.providers.provider import ProviderEvent, TextDelta
from message_service.providers.reply_reader import ReplyReader
from message_service.providers.sse import SseEvent
from message_service.providers.upstream import EventResponse, post_for_events

USAGE_GRACE_SECONDS = 2.0
"""Time for usage to follow the end marker; no reply is held up for it any longer."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a provider may be silent."""

    first_token_seconds: float
    token_seconds: float


async def read_reply(
    session: aiohttp.ClientSession,
    url: str,
    *,
    provider: str,
    headers: Mapping[str, str],
    body: bytes,
    reader: ReplyReader,
    patience: Patience,
    deadline: float,
) -> AsyncGenerator[list[ProviderEvent], None]:
    """What `reader` makes of each piece that arrives, up to the end of the stream; `reader.end` is the caller's.

    The first text comes at once; then so much is read at a time as `gathering` says.
    `deadline` for the first token is on the loop's clock. Raises `ProviderError`.
    """
    clock = asyncio.get_running_loop().time
    async with post_for_events(
        session, url, provider=provider, headers=headers, body=body, deadline=deadline
    ) as response:
        while not reader.is_done and (events := await _read(response, reader, patience, deadline)) is not None:
            tokens_before, was_finished = reader.tokens_seen, reader.is_finished
            taken: list[ProviderEvent] = []
            try:
                for event in events:
                    taken += reader.take(event)
            except ProviderError:
                if taken:
                    yield joined(taken)  # what arrived with the error came before it
                raise
            if taken:
                yield joined(taken)
            if reader.tokens_seen > tokens_before and not reader.is_finished:
                await response.gather()
            # Counted from here, so that the time our own reader took is not held against the provider.
            if reader.is_finished:
                deadline = deadline if was_finished else clock() + USAGE_GRACE_SECONDS
            elif reader.tokens_seen > tokens_before:
                deadline = clock() + patience.token_seconds
        response.is_whole = reader.is_done and not reader.is_cut_short


def joined(events: Sequence[ProviderEvent]) -> list[ProviderEvent]:
    """The same with neighbouring deltas as one: each costs the same on its way, whatever its length."""
    fewer: list[ProviderEvent] = []
    pieces: list[str] = []
    for event in events:
        if isinstance(event, TextDelta):
            pieces.append(event.text)
            continue
        _end_delta(pieces, fewer)
        fewer.append(event)
    _end_delta(pieces, fewer)
    return fewer


def _end_delta(pieces: list[str], events: list[ProviderEvent]) -> None:
    if pieces:
        events.append(TextDelta("".join(pieces), len(pieces)))
        pieces.clear()


async def _read(
    response: EventResponse, reader: ReplyReader, patience: Patience, deadline: float
) -> list[SseEvent] | None:
    try:
        return await response.read(deadline)
    except ProviderError as fault:
        if reader.is_finished:
            return None  # the reply is whole, only its usage is lost
        if not isinstance(fault, ProviderTimeout):
            raise
        silence = (
            f"It went silent for {patience.token_seconds:g} s."
            if reader.tokens_seen
            else f"No token came within {patience.first_token_seconds:g} s."
        )
        raise ProviderTimeout(f"{fault.sentence} {silence}", provider=fault.provider) from fault


def to_json(provider: str, body: Mapping[str, object]) -> bytes:
    """Raises `ProviderRequestInvalid` for text that is not valid Unicode."""
    try:
        return orjson.dumps(body)
    except TypeError as fault:
        raise ProviderRequestInvalid("The prompt is not valid Unicode text.", provider=provider) from fault
