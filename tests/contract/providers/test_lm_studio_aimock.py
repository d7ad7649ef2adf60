"""The adapter against a third party's server: its streams, its errors, and its habit of cutting emoji in two."""

import aiohttp
import pytest

from message_service.errors import (
    ContextTooLong,
    ProviderAuthFailed,
    ProviderError,
    ProviderOverloaded,
    ProviderRateLimited,
    StreamCut,
)
from message_service.messages.reply import FinishReason, Usage
from message_service.providers.lm_studio import LmStudioProvider
from message_service.providers.provider import Finished, UsageReported
from tests.contract.providers.reading import Reading, assert_in_contract, prompt, read


async def _read(session: aiohttp.ClientSession, url: str, message: str) -> Reading:
    reading = await read(LmStudioProvider(session, url, None, "gpt-4o", 20, 20).stream(prompt(message)))
    assert_in_contract(reading)
    return reading


async def test_text_is_whole_when_the_server_cuts_emoji_in_two(session: aiohttp.ClientSession, aimock_url: str) -> None:
    reading = await _read(session, aimock_url, "emoji")
    assert reading.text == "Grüße 😀😀😀 aus 日本 und 🚀!"
    assert reading.events[-2:] == [UsageReported(Usage(11, 9)), Finished(FinishReason.STOP)]


@pytest.mark.parametrize(
    ("message", "kind", "status", "retry_after_seconds"),
    [
        ("rate limited", ProviderRateLimited, 429, 7.0),
        ("overloaded", ProviderOverloaded, 529, None),
        ("too long", ContextTooLong, 400, None),
        ("bad key", ProviderAuthFailed, 401, None),
    ],
)
async def test_error_has_its_class_when_the_server_refuses(
    session: aiohttp.ClientSession,
    aimock_url: str,
    message: str,
    kind: type[ProviderError],
    status: int,
    retry_after_seconds: float | None,
) -> None:
    reading = await _read(session, aimock_url, message)
    assert reading.events == []
    assert type(reading.error) is kind
    assert (reading.error.status, reading.error.retry_after_seconds) == (status, retry_after_seconds)


async def test_stream_is_cut_when_the_server_drops_it(session: aiohttp.ClientSession, aimock_url: str) -> None:
    reading = await _read(session, aimock_url, "cut")
    assert type(reading.error) is StreamCut
    assert "one two three four".startswith(reading.text.strip())
    assert reading.text


async def test_reason_is_kept_when_the_server_filters(session: aiohttp.ClientSession, aimock_url: str) -> None:
    reading = await _read(session, aimock_url, "filtered")
    assert reading.finished == Finished(FinishReason.CONTENT_FILTER)


async def test_reasoning_is_not_shown_when_the_server_sends_it(session: aiohttp.ClientSession, aimock_url: str) -> None:
    assert (await _read(session, aimock_url, "think")).text == "Yes."
