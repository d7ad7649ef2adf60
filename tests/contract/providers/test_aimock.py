"""The adapters against a third party's server: its streams, its errors, and its habit of cutting emoji in two."""

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
from message_service.providers.provider import Finished, UsageReported
from tests.contract.providers.adapters import ADAPTERS, Adapter
from tests.contract.providers.reading import Reading, assert_in_contract, prompt, read

MODELS = {"chat": "gpt-4o", "responses": "gpt-4o", "messages": "claude-sonnet-4-5"}


@pytest.fixture(params=["lm_studio", "openai", "openai_compatible", "anthropic", "older_anthropic"])
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return ADAPTERS[request.param]


async def _read(session: aiohttp.ClientSession, url: str, adapter: Adapter, message: str) -> Reading:
    reading = await read(adapter(session, url, MODELS[adapter.dialect]).stream(prompt(message)))
    assert_in_contract(reading)
    return reading


async def test_text_is_whole_when_the_server_cuts_emoji_in_two(
    session: aiohttp.ClientSession, aimock_url: str, adapter: Adapter
) -> None:
    reading = await _read(session, aimock_url, adapter, "emoji")
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
    adapter: Adapter,
    message: str,
    kind: type[ProviderError],
    status: int,
    retry_after_seconds: float | None,
) -> None:
    reading = await _read(session, aimock_url, adapter, message)
    assert reading.events == []
    assert type(reading.error) is kind
    assert (reading.error.status, reading.error.retry_after_seconds) == (status, retry_after_seconds)


async def test_stream_is_cut_when_the_server_drops_it(
    session: aiohttp.ClientSession, aimock_url: str, adapter: Adapter
) -> None:
    reading = await _read(session, aimock_url, adapter, "cut")
    assert type(reading.error) is StreamCut
    assert "one two three four".startswith(reading.text.strip())


async def test_stream_is_cut_when_the_server_sends_nonsense(
    session: aiohttp.ClientSession, aimock_url: str, adapter: Adapter
) -> None:
    reading = await _read(session, aimock_url, adapter, "malformed")
    assert type(reading.error) is StreamCut
    assert reading.text == ""


@pytest.mark.parametrize("name", ["lm_studio", "openai_compatible", "anthropic"])  # its Responses are all "completed"
async def test_reason_is_kept_when_the_server_filters(
    session: aiohttp.ClientSession, aimock_url: str, name: str
) -> None:
    reading = await _read(session, aimock_url, ADAPTERS[name], "filtered")
    assert reading.finished == Finished(FinishReason.CONTENT_FILTER)


async def test_reasoning_is_not_shown_when_the_server_sends_it(
    session: aiohttp.ClientSession, aimock_url: str, adapter: Adapter
) -> None:
    assert (await _read(session, aimock_url, adapter, "think")).text == "Yes."
