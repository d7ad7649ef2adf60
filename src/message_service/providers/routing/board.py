"""What workers tell of their providers, for whoever asks the API: it reaches no provider itself.

Redis key: `message_service:{providers}:board`, a hash with a field for each worker, which it renews every two
seconds. Fields older than ten seconds are dropped, and the hash a minute after the last worker.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import orjson
from redis.exceptions import ResponseError

from message_service.errors import RelayUnavailable
from message_service.ids import WorkerId
from message_service.logs import log
from message_service.providers.routing.breaker import BreakerState
from message_service.providers.routing.target import Target
from message_service.relay import PREFIX, Relay

BOARD_KEY = f"{PREFIX}:{{providers}}:board"
_KEPT_SECONDS = 60
_FRESH_SECONDS = 10
_LONGEST_DETAIL_CHARACTERS = 300

_WRITE = """
local now = tonumber(redis.call('TIME')[1])
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local written = tonumber(string.match(all[i + 1], '^%d+') or 0)
  if now - written > tonumber(ARGV[3]) then redis.call('HDEL', KEYS[1], all[i]) end
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', now) .. ' ' .. ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetReport:
    """How one target does, in the eyes of one worker, or of all together."""

    provider: str
    host: str | None
    tier: int
    breaker: BreakerState
    reason: str | None
    """Code of the error that opened the breaker."""
    retry_after_seconds: float | None
    in_flight: int
    most_in_flight: int | None
    first_token_seconds: float | None
    is_reachable: bool | None
    """None: nobody has looked yet."""
    models: tuple[str, ...]
    context_tokens: int | None
    detail: str


def report(target: Target, at: float) -> TargetReport:
    """`at` on the loop's clock."""
    breaker, health = target.breaker, target.health
    state = BreakerState.CLOSED if breaker is None else breaker.state(at)
    ejection = breaker.ejection if breaker is not None and state is not BreakerState.CLOSED else None
    return TargetReport(
        provider=target.name,
        host=target.host,
        tier=target.tier,
        breaker=state,
        reason=ejection.reason if ejection else None,
        retry_after_seconds=max(0.0, round(ejection.ends_at - at, 1)) if ejection else None,
        in_flight=target.in_flight,
        most_in_flight=target.most_in_flight(at),
        first_token_seconds=None if target.first_token_seconds is None else round(target.first_token_seconds, 3),
        is_reachable=health.is_reachable if health else None,
        models=health.models if health else (),
        context_tokens=health.context_tokens if health else None,
        detail=health.detail[:_LONGEST_DETAIL_CHARACTERS] if health else "",
    )


async def write_board(relay: Relay, worker: WorkerId, reports: Sequence[TargetReport]) -> None:
    """Raises `RelayUnavailable`."""
    rows = orjson.dumps([asdict(one) for one in reports]).decode()
    try:
        with relay.reaching():
            await relay.quick.eval(_WRITE, 1, BOARD_KEY, worker, rows, str(_FRESH_SECONDS), str(_KEPT_SECONDS))
    except ResponseError as fault:
        raise RelayUnavailable(str(fault)) from fault


async def read_board(relay: Relay) -> list[list[TargetReport]]:
    """What each worker that lives tells of its targets, as far as it can be read. Raises `RelayUnavailable`."""
    with relay.reaching():
        pipeline = relay.quick.pipeline(transaction=False)
        pipeline.hgetall(BOARD_KEY)
        pipeline.time()
        by_worker, (now, _) = await pipeline.execute()
    told = []
    for value in by_worker.values():
        written_at, _, rows = value.partition(" ")
        if now - int(written_at) <= _FRESH_SECONDS:
            told.append([one for row in orjson.loads(rows) if (one := _report_from(row)) is not None])
    return told


def together(told: Sequence[Sequence[TargetReport]]) -> list[TargetReport]:
    """One report a target: loads added up, the worst breaker, the mean latency."""
    by_target: dict[tuple[str, str | None], list[TargetReport]] = {}
    for reports in told:
        for one in reports:
            by_target.setdefault((one.provider, one.host), []).append(one)
    return [_joined(reports) for reports in by_target.values()]


def _joined(reports: Sequence[TargetReport]) -> TargetReport:
    worst = max(reports, key=lambda one: _SEVERITY.index(one.breaker))
    latencies = [one.first_token_seconds for one in reports if one.first_token_seconds is not None]
    limits = [one.most_in_flight for one in reports]
    return replace(
        worst,
        in_flight=sum(one.in_flight for one in reports),
        most_in_flight=None if None in limits else sum(limit or 0 for limit in limits),
        first_token_seconds=round(sum(latencies) / len(latencies), 3) if latencies else None,
    )


_SEVERITY = (BreakerState.CLOSED, BreakerState.HALF_OPEN, BreakerState.OPEN)


def _report_from(row: Mapping[str, Any]) -> TargetReport | None:
    """What a newer version adds is passed over. None: another version wrote it, and it cannot be read."""
    try:
        known = {field.name: row[field.name] for field in fields(TargetReport)}
        return TargetReport(**known | {"breaker": BreakerState(known["breaker"]), "models": tuple(known["models"])})
    except (KeyError, TypeError, ValueError) as fault:
        log.debug("board.unreadable", error=type(fault).__name__)
        return None
