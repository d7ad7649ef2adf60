"""What may go wrong in a stream of OpenAI's or Anthropic's, and the one error of our tree it becomes."""

import asyncio

import aiohttp
import pytest

from message_service.errors import (
    ContextTooLong,
    ModelNotFound,
    ProviderAuthFailed,
    ProviderConnectFailed,
    ProviderError,
    ProviderFailed,
    ProviderOverloaded,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRequestInvalid,
    ProviderTimeout,
    StreamCut,
)
from message_service.messages.reply import FinishReason, Usage
from message_service.providers.provider import Finished, UsageReported
from tests.contract.providers.adapters import ADAPTERS, Adapter, read_from
from tests.contract.providers.fault_server import (
    WELL,
    FaultServer,
    Pause,
    Reset,
    Silence,
    Step,
    answer,
    delta,
    event,
    stream_head,
)
from tests.contract.providers.reading import assert_in_contract, prompt, read
from tests.contract.providers.wire_events import WHOLE, named

VENDORS = ("openai", "anthropic")


@pytest.fixture(params=VENDORS)
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return ADAPTERS[request.param]


async def test_reply_is_whole_when_nothing_is_wrong(
    session: aiohttp.ClientSession, fault_server: FaultServer, adapter: Adapter
) -> None:
    reading = await read_from(session, fault_server, adapter, [stream_head(), *WHOLE[adapter.dialect]])
    assert reading.text == "Hello"
    assert reading.events[-2:] == [UsageReported(Usage(12, 7)), Finished(FinishReason.STOP)]


async def test_nothing_more_is_read_when_the_end_marker_came(
    session: aiohttp.ClientSession, fault_server: FaultServer, adapter: Adapter
) -> None:
    steps: list[Step] = [stream_head(), *WHOLE[adapter.dialect], *WHOLE[adapter.dialect], Silence()]
    assert (await read_from(session, fault_server, adapter, steps)).text == "Hello"


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        ([], StreamCut),
        ([event(b"[DONE]")], StreamCut),
        ([Pause(0.1), Reset()], StreamCut),
        ([event({"error": "The model has crashed without additional information."})], StreamCut),
        ([event({"error": {"message": "Overloaded", "type": "overloaded_error"}})], ProviderOverloaded),
        ([b"data: {{{{\n\n"], StreamCut),
        ([b"data: [1, 2]\n\n"], StreamCut),
        ([b"data: ", *[b"x" * 65_536] * 20], StreamCut),
    ],
    ids=["clean end", "DONE", "reset", "string error", "object error", "no JSON", "no object", "huge line"],
)
async def test_stream_ends_in_an_error_when_no_end_marker_came(
    session: aiohttp.ClientSession,
    fault_server: FaultServer,
    adapter: Adapter,
    end: list[Step],
    kind: type[ProviderError],
) -> None:
    reading = await read_from(session, fault_server, adapter, [stream_head(), *WHOLE[adapter.dialect][:-1], *end])
    assert type(reading.error) is kind
    assert reading.text == "Hello"


@pytest.mark.parametrize(
    ("steps", "kind", "wait"),
    [
        ([answer(429, {"error": {"type": "rate_limit_error"}}, {"retry-after": "7"})], ProviderRateLimited, 7.0),
        ([answer(429, {"error": {"code": "slow_down"}}, {"retry-after-ms": "1500"})], ProviderRateLimited, 1.5),
        ([answer(429, {"error": {"code": "insufficient_quota"}})], ProviderQuotaExhausted, None),
        (
            [
                answer(
                    429,
                    {
                        "type": "error",
                        "error": {
                            "type": "rate_limit_error",
                            "message": "Spend limit",
                            "details": {"error_code": "enforced_spend_limit_reached"},
                        },
                    },
                )
            ],
            ProviderQuotaExhausted,
            None,
        ),
        ([answer(402, {"error": {"type": "billing_error"}})], ProviderQuotaExhausted, None),
        ([answer(529, {"error": {"type": "overloaded_error"}})], ProviderOverloaded, None),
        ([answer(503, {"error": {"code": "server_is_overloaded"}})], ProviderOverloaded, None),
        ([answer(504, {"error": {"type": "timeout_error"}})], ProviderTimeout, None),
        ([answer(500, {"error": {"type": "api_error"}})], ProviderFailed, None),
        ([answer(401, {"error": {"type": "authentication_error"}})], ProviderAuthFailed, None),
        (
            [answer(400, {"error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8 maximum"}})],
            ContextTooLong,
            None,
        ),
        ([answer(400, {"error": {"type": "invalid_request_error", "message": "No."}})], ProviderRequestInvalid, None),
        ([answer(404, {"error": {"type": "not_found_error", "message": "model: tiny"}})], ModelNotFound, None),
        ([answer(404, {"error": {"code": "model_not_found", "message": "No such model"}})], ModelNotFound, None),
        ([answer(404, b"<html>Not found</html>")], ProviderConnectFailed, None),
        ([answer(200, b"<html>Sign in</html>", {"Content-Type": "text/html"})], StreamCut, None),
        ([answer(200, {"id": "msg_1", "content": []})], StreamCut, None),
        ([answer(302, b"", {"Location": "/elsewhere"})], ProviderConnectFailed, None),
        ([], StreamCut, None),
    ],
)
async def test_error_has_its_class_when_there_is_no_stream(
    session: aiohttp.ClientSession,
    fault_server: FaultServer,
    adapter: Adapter,
    steps: list[Step],
    kind: type[ProviderError],
    wait: float | None,
) -> None:
    reading = await read_from(session, fault_server, adapter, steps)
    assert type(reading.error) is kind
    assert reading.error.retry_after_seconds == wait
    assert [request.path for request in fault_server.requests] == [adapter.path], "no redirect is followed"


async def test_setting_is_named_when_the_model_does_not_exist(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    unknown = [answer(404, {"error": {"type": "not_found_error", "message": "model: tiny"}})]
    reading = await read_from(session, fault_server, ADAPTERS["anthropic"], unknown)
    assert reading.error is not None
    assert (
        reading.error.detail == "Anthropic has no model tiny for this account: correct MESSAGE_SERVICE_ANTHROPIC_MODEL."
    )


PINGS: list[Step] = [named("ping"), Pause(0.05)] * 40


async def test_stream_is_given_up_when_only_pings_come(
    session: aiohttp.ClientSession, fault_server: FaultServer, adapter: Adapter
) -> None:
    fault_server.routes[adapter.path] = [stream_head(), *WHOLE[adapter.dialect][:3], *PINGS]
    async with asyncio.timeout(1.5):
        reading = await read(adapter(session, fault_server.url, token_seconds=0.3).stream(prompt()))
    assert type(reading.error) is ProviderTimeout
    assert "silent for 0.3 s" in reading.error.detail
    assert reading.text.startswith("Hel")


async def test_first_token_is_given_up_when_only_pings_come(
    session: aiohttp.ClientSession, fault_server: FaultServer, adapter: Adapter
) -> None:
    fault_server.routes[adapter.path] = [stream_head(), WHOLE[adapter.dialect][0], *PINGS]
    async with asyncio.timeout(1.5):
        reading = await read(adapter(session, fault_server.url, first_token_seconds=0.3).stream(prompt()))
    assert type(reading.error) is ProviderTimeout


async def test_parameter_is_left_out_of_one_request_when_only_the_value_of_its_caller_is_refused(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    adapter = ADAPTERS["openai_compatible"]
    refusal = answer(400, {"error": {"type": "invalid_request_error", "message": "temperature must be <= 1.5"}})
    fault_server.routes[adapter.path] = lambda request: [refusal] if request.json().get("temperature") == 1.9 else WELL
    provider = adapter(session, fault_server.url)
    readings = [await read(provider.stream(prompt(temperature=temperature))) for temperature in (1.9, 0.5)]
    assert [reading.text for reading in readings] == ["Hello", "Hello"]
    assert ["left out" in str(reading.events[0]) for reading in readings] == [True, False]
    assert [request.json().get("temperature") for request in fault_server.requests] == [1.9, None, 0.5]
    assert (await provider.capabilities()).takes_temperature


async def test_stop_sequences_are_kept_by_us_when_the_host_refuses_them(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    adapter = ADAPTERS["openai_compatible"]
    refusal = answer(400, {"error": {"message": "Unsupported parameter: 'stop' is not supported with this model."}})
    said: list[Step] = [stream_head(), delta("One. E"), delta("ND. Two."), Silence()]
    fault_server.routes[adapter.path] = lambda request: [refusal] if "stop" in request.json() else said
    provider = adapter(session, fault_server.url)
    for _ in range(2):
        reading = await read(provider.stream(prompt(stop=("END",))))
        assert (reading.text, reading.finished) == ("One. ", Finished(FinishReason.STOP))
        assert "left out" not in str(reading.events[0]), "nothing of it was lost"
    assert len(fault_server.requests) == 3, "refused once"


async def test_output_limit_goes_by_its_other_name_when_the_host_asks_for_that(
    session: aiohttp.ClientSession, fault_server: FaultServer
) -> None:
    adapter = ADAPTERS["openai_compatible"]
    message = (
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    )
    refusal = answer(400, {"error": {"type": "invalid_request_error", "message": message}})
    fault_server.routes[adapter.path] = lambda request: [refusal] if "max_tokens" in request.json() else WELL
    provider = adapter(session, fault_server.url)
    for _ in range(2):
        assert (await read(provider.stream(prompt(max_output_tokens=77)))).text == "Hello"
    assert [request.json().get("max_completion_tokens") for request in fault_server.requests] == [None, 77, 77]


@pytest.mark.parametrize("named_parameter", ["temperature", "'temperature'"])
async def test_parameter_is_left_out_from_then_on_when_the_model_refuses_it(
    session: aiohttp.ClientSession, fault_server: FaultServer, named_parameter: str
) -> None:
    adapter = ADAPTERS["openai"]
    refusal = answer(400, {"error": {"type": "invalid_request_error", "message": f"Unsupported: {named_parameter}"}})
    fault_server.routes[adapter.path] = lambda request: (
        [refusal] if "temperature" in request.json() else [stream_head(), *WHOLE["responses"]]
    )
    provider = adapter(session, fault_server.url)
    for _ in range(2):
        reading = await read(provider.stream(prompt(temperature=0.5)))
        assert_in_contract(reading)
        assert reading.text == "Hello"
        assert "temperature was left out" in str(reading.events[0])
    assert len(fault_server.requests) == 3
    assert not (await provider.capabilities()).takes_temperature
