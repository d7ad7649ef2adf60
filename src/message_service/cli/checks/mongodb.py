"""MongoDB: reachable, new enough, able to do transactions, and set so that a killed client does no lasting harm."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError

from message_service.cli.checks.finding import Finding, Subject

_OLDEST = (6, 0)
_REACH_MILLISECONDS = 3000
_LONG_TRANSACTION_SECONDS = 10
_LONG_ELECTION_MILLISECONDS = 5000
_MOST_CLOCK_SECONDS = 1.0


async def check_mongodb(subject: Subject) -> list[Finding]:
    if subject.mongodb_url is None:
        return [
            Finding(
                "mongodb",
                "warn",
                "No MongoDB is configured, and no `message-service dev` runs here.",
                "Set MESSAGE_SERVICE_MONGODB_URL, or start `message-service dev`.",
            )
        ]
    try:
        async with AsyncMongoClient[dict[str, Any]](
            subject.mongodb_url, serverSelectionTimeoutMS=_REACH_MILLISECONDS, connectTimeoutMS=_REACH_MILLISECONDS
        ) as client:
            hello = await client.admin.command("hello")
            build = await client.admin.command("buildInfo")
            parameters = await _parameters(client)
            clock_seconds = await _clock_difference(client)
            election_milliseconds = await _election_timeout(client)
            own_write_concern = client.write_concern
    except PyMongoError as fault:
        return [
            Finding(
                "mongodb",
                "fail",
                f"MongoDB cannot be used: {str(fault).partition(', Timeout:')[0]}",
                "Start it, and see that MESSAGE_SERVICE_MONGODB_URL has the right host, user and password.",
            )
        ]
    return [
        _version(build["version"]),
        _topology(hello),
        *_arbiter(hello),
        *_parameter_findings(parameters),
        _write_concern(own_write_concern.document),
        _clock(clock_seconds),
        *_election(election_milliseconds),
    ]


async def _parameters(client: AsyncMongoClient[dict[str, Any]]) -> Mapping[str, Any]:
    """Empty where looking is not permitted, as on most hosted MongoDBs, or where a router has no such parameter."""
    found: dict[str, Any] = {}
    for name in ("transactionLifetimeLimitSeconds", "enableTestCommands"):
        try:
            found |= await client.admin.command({"getParameter": 1, name: 1})
        except OperationFailure:
            continue
    return found


async def _clock_difference(client: AsyncMongoClient[dict[str, Any]]) -> float:
    """Seconds our clock is ahead of the server's, without half the time of the trip."""
    before = datetime.now(UTC)
    hello = await client.admin.command("hello")
    middle = before + (datetime.now(UTC) - before) / 2
    return float((middle - hello["localTime"].replace(tzinfo=UTC)).total_seconds())


async def _election_timeout(client: AsyncMongoClient[dict[str, Any]]) -> int | None:
    """None where there is no set, it has one member, or looking is not permitted."""
    try:
        config = (await client.admin.command("replSetGetConfig"))["config"]
    except OperationFailure:
        return None
    return int(config["settings"]["electionTimeoutMillis"]) if len(config["members"]) > 1 else None


def _write_concern(asked: Mapping[str, Any]) -> Finding:
    """What the URL asks for; the service overrides it, but other tools on the same URL will not."""
    if asked.get("w", "majority") != "majority" or asked.get("j") is False:
        return Finding(
            "mongodb durability",
            "warn",
            "The URL asks for weak writes (w or journal). The service ignores that.",
            "Take w and journal out of MESSAGE_SERVICE_MONGODB_URL.",
        )
    return Finding("mongodb durability", "ok", "Writes count when a majority holds them in its journal.")


def _clock(difference_seconds: float) -> Finding:
    sentence = f"Our clock and MongoDB's differ by {abs(difference_seconds):.1f} s."
    if abs(difference_seconds) > _MOST_CLOCK_SECONDS:
        remedy = "Run a time service on both: leases do not need it, times shown and deadlines do."
        return Finding("clock", "warn", sentence, remedy)
    return Finding("clock", "ok", sentence)


def _election(timeout_milliseconds: int | None) -> list[Finding]:
    if timeout_milliseconds is None:
        return []
    sentence = f"A lost primary is replaced after {timeout_milliseconds / 1000:.0f} s or a little more."
    if timeout_milliseconds > _LONG_ELECTION_MILLISECONDS:
        remedy = "Set settings.electionTimeoutMillis to 2000 to 5000 with rs.reconfig()."
        return [Finding("mongodb failover", "warn", sentence, remedy)]
    return [Finding("mongodb failover", "ok", sentence)]


def _version(version: str) -> Finding:
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        return Finding("mongodb", "fail", f"MongoDB {version} is reachable but too old.", "Use MongoDB 6.0 or newer.")
    return Finding("mongodb", "ok", f"MongoDB {version} is reachable.")


def _topology(hello: Mapping[str, Any]) -> Finding:
    if hello.get("msg") == "isdbgrid":
        return Finding("mongodb transactions", "ok", "A sharded cluster; it has transactions.")
    if "setName" in hello:
        return Finding("mongodb transactions", "ok", f"Replica set {hello['setName']}; it has transactions.")
    return Finding(
        "mongodb transactions",
        "fail",
        "This MongoDB is a standalone server, which has no transactions.",
        "Make it a replica set, of one member if need be: start mongod with --replSet and run rs.initiate().",
    )


def _arbiter(hello: Mapping[str, Any]) -> list[Finding]:
    if not hello.get("arbiters"):
        return []
    return [
        Finding(
            "mongodb arbiter",
            "warn",
            "The replica set has an arbiter: with one member down, majority writes wait and the service stands still.",
            "Replace the arbiter with a member that holds data.",
        )
    ]


def _parameter_findings(parameters: Mapping[str, Any]) -> list[Finding]:
    findings = []
    seconds = parameters.get("transactionLifetimeLimitSeconds")
    if seconds is not None:
        sentence = f"What a killed process was writing stays locked for {seconds} s at most."
        if seconds > _LONG_TRANSACTION_SECONDS:
            remedy = "Start mongod with --setParameter transactionLifetimeLimitSeconds=5."
            findings.append(Finding("mongodb locks", "warn", sentence, remedy))
        else:
            findings.append(Finding("mongodb locks", "ok", sentence))
    if parameters.get("enableTestCommands"):
        findings.append(
            Finding(
                "mongodb test commands",
                "fail",
                "Test commands are on: whoever can connect can inject faults.",
                "Start mongod without --setParameter enableTestCommands=1.",
            )
        )
    return findings
