"""One report of a target out of what several workers see."""

from dataclasses import replace

from message_service.errors import ProviderAuthFailed
from message_service.providers.routing.board import report, together
from message_service.providers.routing.breaker import Breaker, BreakerPolicy, BreakerState
from message_service.providers.routing.target import Target
from message_service.providers.scripted import ScriptedProvider


def target() -> Target:
    return Target(ScriptedProvider(10), Breaker(BreakerPolicy()), host="gpu-1:1234", most_in_flight=4)


def test_loads_add_up_and_the_worst_breaker_is_told() -> None:
    well = target()
    well.in_flight = 2
    well.took(1.0)
    broken = target()
    broken.in_flight = 1
    broken.took(3.0)
    assert broken.breaker is not None
    broken.breaker.failed(ProviderAuthFailed(provider="scripted"), 0, is_probe=False, chance=0.5)
    (one,) = together([[report(well, 1)], [report(broken, 1)]])
    assert (one.in_flight, one.most_in_flight, one.first_token_seconds) == (3, 8, 2.0)
    assert (one.breaker, one.reason, one.retry_after_seconds) == (BreakerState.OPEN, "provider_auth_failed", 59.0)


def test_limit_is_unknown_when_a_worker_has_none() -> None:
    one = report(target(), 0)
    assert together([[one], [replace(one, most_in_flight=None)]])[0].most_in_flight is None


def test_targets_stay_apart_when_their_hosts_differ() -> None:
    one = report(target(), 0)
    assert len(together([[one, replace(one, host="gpu-2:1234")]])) == 2
