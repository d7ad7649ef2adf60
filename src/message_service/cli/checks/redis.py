"""Redis or Valkey: reachable, new enough, and set so that it throws no queued work away."""

from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from message_service.cli.checks.finding import Finding, Subject

_OLDEST = (7, 2)
_REACH_SECONDS = 3.0


async def check_redis(subject: Subject) -> list[Finding]:
    if subject.redis_url is None:
        return [
            Finding(
                "redis",
                "warn",
                "No Redis is configured, and no `message-service dev` runs here.",
                "Set MESSAGE_SERVICE_REDIS_URL, or start `message-service dev`.",
            )
        ]
    try:
        client = Redis.from_url(
            subject.redis_url,
            socket_timeout=_REACH_SECONDS,
            socket_connect_timeout=_REACH_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        async with client:
            server = await client.info()
    except (RedisError, OSError, ValueError) as fault:
        return [
            Finding(
                "redis",
                "fail",
                f"Redis cannot be used: {fault}",
                "Start it, and see that MESSAGE_SERVICE_REDIS_URL has the right host and password. "
                "Until then the service works without queue and live tokens: replies begin later and come whole.",
            )
        ]
    return [_version(server), _eviction(server), _persistence(server)]


def _version(server: Mapping[str, Any]) -> Finding:
    """Valkey reports the Redis version it is compatible with, and its own beside it."""
    version = str(server["redis_version"])
    name = f"Valkey {server['valkey_version']}" if "valkey_version" in server else f"Redis {version}"
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        return Finding("redis", "fail", f"{name} is reachable but too old.", "Use Redis 7.2, Valkey 8 or newer.")
    return Finding("redis", "ok", f"{name} is reachable.")


def _eviction(server: Mapping[str, Any]) -> Finding:
    policy = str(server.get("maxmemory_policy", "unknown"))
    sentence = f"maxmemory-policy is {policy}."
    if policy == "noeviction":
        return Finding("redis eviction", "ok", sentence)
    if policy.startswith("volatile-"):
        return Finding(
            "redis eviction",
            "ok",
            sentence + " When memory runs short, live streams go and replies come whole; the queue stays.",
        )
    return Finding(
        "redis eviction",
        "fail",
        sentence + " When memory runs short, queued work is thrown away, and found again a second later.",
        "Set maxmemory-policy noeviction, or volatile-ttl.",
    )


def _persistence(server: Mapping[str, Any]) -> Finding:
    if int(server.get("aof_enabled", 0)):
        return Finding("redis persistence", "ok", "The append-only file is on.")
    return Finding(
        "redis persistence",
        "warn",
        "The append-only file is off: after a crash, queued work is found again in MongoDB only, a second later.",
        "Set appendonly yes.",
    )
