"""Keys stay here: no certificate is taken on trust, and no error repeats what was sent."""

import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
import trustme
from aiohttp import web

from message_service.errors import ProviderConnectFailed
from message_service.providers.provider import Provider
from tests.contract.providers.adapters import ADAPTERS, KEY, Adapter
from tests.contract.providers.fault_server import FaultServer, Step, answer, event, stream_head
from tests.contract.providers.reading import prompt, read
from tests.contract.providers.wire_events import named

EVERY_ADAPTER = pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS.keys())


@pytest.fixture
async def untrusted() -> AsyncIterator[tuple[str, list[str]]]:
    """An HTTPS server whose certificate nobody signed that this machine knows, and what reached it."""
    seen: list[str] = []

    async def see(request: web.Request) -> web.Response:
        seen.append(str(request.headers))
        return web.Response()

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", see)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()


@EVERY_ADAPTER
async def test_nothing_is_sent_when_the_certificate_is_not_trusted(
    session: aiohttp.ClientSession, untrusted: tuple[str, list[str]], adapter: Adapter
) -> None:
    url, seen = untrusted
    provider = adapter(session, url)
    reading = await read(provider.stream(prompt()))
    assert type(reading.error) is ProviderConnectFailed
    assert "certificate" in reading.error.detail
    assert not (await provider.health()).is_reachable
    assert seen == []


def _quoting(key: str) -> list[list[Step]]:
    told = f"I do not like Bearer {key} at all"
    late = f"{'x' * 285} {key}"  # quotes end at 300 characters, in the middle of the key
    refusals: list[list[Step]] = [
        [answer(status, {"error": {"message": words, "type": "invalid_request_error"}})]
        for status in (400, 404, 422, 429, 500)
        for words in (told, late)
    ]
    return [
        *refusals,
        [answer(401, told.encode(), {"Content-Type": "text/plain"})],
        [answer(200, {"error": told})],
        [stream_head(), event({"error": told})],
        [stream_head(), event({"error": late})],
        [stream_head(), named("error", error={"type": "overloaded_error", "message": told})],
        [stream_head(), named("error", code="server_error", message=late)],
    ]


@EVERY_ADAPTER
async def test_key_is_not_repeated_when_the_provider_quotes_it(
    session: aiohttp.ClientSession, fault_server: FaultServer, adapter: Adapter
) -> None:
    provider = adapter(session, fault_server.url)
    for steps in _quoting(KEY):
        fault_server.routes[adapter.path] = steps
        reading = await read(provider.stream(prompt()))
        assert reading.error is not None
        _assert_hidden(str(reading.error))
        _assert_hidden(reading.error.detail)
        _assert_hidden(repr(reading.error))


@EVERY_ADAPTER
async def test_key_is_not_repeated_when_health_is_looked_at(
    session: aiohttp.ClientSession, fault_server: FaultServer, adapter: Adapter
) -> None:
    provider: Provider = adapter(session, fault_server.url)
    for steps in _quoting(KEY):
        for path in ("/v1/models", "/v1/models?limit=1000", "/api/v1/models", "/api/v0/models"):
            fault_server.routes[path] = steps
        _assert_hidden((await provider.health()).detail)


@pytest.mark.parametrize(
    ("name", "header", "value"),
    [
        ("lm_studio", "authorization", f"Bearer {KEY}"),
        ("openai", "authorization", f"Bearer {KEY}"),
        ("anthropic", "authorization", f"Bearer {KEY}"),
        ("older_anthropic", "x-api-key", KEY),
    ],
)
async def test_key_is_sent_as_the_vendor_wants_it(
    session: aiohttp.ClientSession, fault_server: FaultServer, name: str, header: str, value: str
) -> None:
    await read(ADAPTERS[name](session, fault_server.url).stream(prompt()))
    sent = fault_server.requests[0].headers
    assert sent[header] == value
    assert {"authorization", "x-api-key"} & sent.keys() == {header}
    assert ("anthropic-version" in sent) is ("anthropic" in name)


def _assert_hidden(told: str) -> None:
    assert KEY[:5] not in told, told
