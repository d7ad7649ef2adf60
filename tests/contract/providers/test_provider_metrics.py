"""What Prometheus is told of attempts at providers: each once, under the provider that made it."""

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from message_service.metered.router import MeteredRouter
from message_service.metrics import Metrics
from message_service.providers.provider import Provider
from message_service.providers.routing.breaker import Breaker, BreakerPolicy
from message_service.providers.routing.run import Route
from message_service.providers.routing.target import Target
from tests.contract.providers.fault_server import CHAT, DONE, FaultServer, Pause, answer, delta, stream_head
from tests.contract.providers.reading import prompt, read
from tests.contract.providers.routers import SCRIPTED, lm_studios


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def metered(metrics: Metrics, *providers: Provider) -> MeteredRouter:
    return MeteredRouter([Target(provider, Breaker(BreakerPolicy())) for provider in providers], metrics=metrics)


def samples_of(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """By the labels' values, in the order of the labels' names."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    found = (sample for family in families for sample in family.samples if sample.name == f"message_service_{name}")
    return {tuple(label for _, label in sorted(sample.labels.items())): sample.value for sample in found}


async def test_error_is_counted_under_the_provider_that_made_it_when_all_fail(
    session: aiohttp.ClientSession, metrics: Metrics
) -> None:
    async with FaultServer({CHAT: [answer(529, b"")]}) as first, FaultServer({CHAT: [answer(401, b"")]}) as second:
        reading = await read(metered(metrics, *lm_studios(session, first, second)).stream(prompt()))
    assert reading.error is not None
    assert samples_of(metrics, "provider_errors_total") == {
        ("provider_overloaded", "lm_studio"): 1,
        ("provider_auth_failed", "lm_studio-2"): 1,
    }
    assert samples_of(metrics, "provider_switches_total") == {("lm_studio", "lm_studio-2"): 1}


async def test_time_is_that_of_each_attempt_when_another_provider_takes_over(
    session: aiohttp.ClientSession, fault_server: FaultServer, metrics: Metrics
) -> None:
    fault_server.routes[CHAT] = [stream_head(), Pause(0.3), delta("")]
    await read(metered(metrics, *lm_studios(session, fault_server), SCRIPTED).stream(prompt("/script say=Hi")))
    assert samples_of(metrics, "provider_seconds_count") == {("lm_studio",): 1, ("scripted",): 1}
    assert samples_of(metrics, "provider_seconds_sum")["lm_studio",] >= 0.29
    first_text = samples_of(metrics, "provider_first_token_seconds_sum")
    assert list(first_text) == [("scripted",)]
    assert first_text["scripted",] < 0.29


async def test_attempt_is_no_error_when_we_stopped_it(
    session: aiohttp.ClientSession, fault_server: FaultServer, metrics: Metrics
) -> None:
    fault_server.routes[CHAT] = [stream_head(), delta("Hello"), Pause(30), delta(finish="stop"), DONE]
    stream = metered(metrics, *lm_studios(session, fault_server)).stream(prompt())
    await anext(stream)
    await anext(stream)
    await stream.aclose()
    assert samples_of(metrics, "provider_seconds_count") == {("lm_studio",): 1}
    assert samples_of(metrics, "provider_errors_total") == {}


async def test_no_series_has_a_callers_word_in_it_when_there_is_no_such_provider(metrics: Metrics) -> None:
    reading = await read(metered(metrics, SCRIPTED).stream(prompt(), Route(provider="somebodys-secret")))
    assert reading.error is not None
    assert "somebodys-secret" not in metrics.exposition().decode()
