"""`message-service doctor` finds what is wrong with real servers, and says how to repair it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pymongo import MongoClient
from redis import Redis

from message_service.embedded.binaries import server_environment
from message_service.embedded.child import fresh_log, start_child, stop_children
from message_service.embedded.mongod import find_mongod
from message_service.embedded.servers import EmbeddedServers, start_embedded_servers
from tests.fixtures.processes import wait_until

Findings = dict[str, dict[str, str]]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="message-service-test-") as name:
        yield Path(name)


def examine(folder: Path, *, expect_exit_code: int, **settings: str) -> Findings:
    """Findings by name; where several share one, the last."""
    run = _run_doctor(folder, "--json", **settings)
    assert run.returncode == expect_exit_code, run.stdout + run.stderr
    return {finding["name"]: finding for finding in json.loads(run.stdout)}


def _run_doctor(folder: Path, *options: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return _run(folder, ["doctor", *options], **settings)


def _run(folder: Path, arguments: list[str], **settings: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MESSAGE_SERVICE_")}
    environment = inherited | {f"MESSAGE_SERVICE_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "message_service", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_stores_are_sound_when_they_are_ours(servers: EmbeddedServers, folder: Path) -> None:
    found = examine(folder, expect_exit_code=0, MONGODB_URL=servers.mongodb_url, REDIS_URL=servers.redis_url)
    sound = ("settings", "python", "mongodb", "mongodb transactions", "mongodb locks", "redis", "redis eviction")
    assert {name: found[name]["level"] for name in sound} == dict.fromkeys(sound, "ok")
    assert "embedded servers" not in found


def test_running_servers_are_looked_at_when_no_url_is_set(servers: EmbeddedServers, folder: Path) -> None:
    found = examine(folder, expect_exit_code=0, DATA_DIR=str(servers.data_dir))
    assert found["mongodb transactions"]["level"] == "ok"
    assert found["redis persistence"]["level"] == "ok"
    assert found["embedded servers"]["level"] == "ok"


def test_nothing_fails_when_nothing_is_configured_and_nothing_runs(folder: Path) -> None:
    found = examine(folder, expect_exit_code=0)
    for name in ("mongodb", "redis"):
        assert found[name]["level"] == "warn"
        assert "message-service dev" in found[name]["remedy"]
    assert not (folder / ".data").exists()


def test_each_fault_has_a_remedy_when_servers_are_set_badly(folder: Path) -> None:
    servers = start_embedded_servers(folder / "data")
    try:
        with MongoClient[dict[str, object]](servers.mongodb_url) as client:
            client.admin.command({"setParameter": 1, "transactionLifetimeLimitSeconds": 60})
        with Redis.from_url(servers.redis_url) as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            client.config_set("appendonly", "no")
        found = examine(folder, expect_exit_code=1, MONGODB_URL=servers.mongodb_url, REDIS_URL=servers.redis_url)
    finally:
        servers.stop()
    expected = {"mongodb locks": "warn", "redis eviction": "fail", "redis persistence": "warn"}
    assert {name: found[name]["level"] for name in expected} == expected
    assert "transactionLifetimeLimitSeconds" in found["mongodb locks"]["remedy"]
    assert "noeviction" in found["redis eviction"]["remedy"]
    assert "appendonly yes" in found["redis persistence"]["remedy"]


def test_standalone_and_test_commands_fail_when_mongodb_runs_so(folder: Path) -> None:
    socket_path = folder / "m.sock"
    (folder / "db").mkdir()
    command = [str(find_mongod()), "--dbpath", str(folder / "db"), "--bind_ip", str(socket_path), "--nounixsocket"]
    command += ["--setParameter", "enableTestCommands=1"]
    with fresh_log(folder / "log") as output:
        child = start_child(command, environment=server_environment(), output=output)
    try:
        wait_until(socket_path.exists, seconds=20, what="mongod listens")
        url = f"mongodb://{str(socket_path).replace('/', '%2F')}/?directConnection=true"
        found = examine(folder, expect_exit_code=1, MONGODB_URL=url)
        started = [
            _run(folder, [command], MONGODB_URL=url, REDIS_URL="redis://127.0.0.1:1") for command in ("serve", "work")
        ]
    finally:
        stop_children([child], patience_seconds=10)
    assert found["mongodb transactions"]["level"] == "fail"
    assert "--replSet" in found["mongodb transactions"]["remedy"]
    assert found["mongodb test commands"]["level"] == "fail"
    for refused in started:
        assert refused.returncode != 0
        assert "rs.initiate()" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_weak_writes_in_the_url_are_told_and_clocks_compared(servers: EmbeddedServers, folder: Path) -> None:
    found = examine(folder, expect_exit_code=0, MONGODB_URL=f"{servers.mongodb_url}&w=1", REDIS_URL=servers.redis_url)
    assert found["mongodb durability"]["level"] == "warn"
    assert "MESSAGE_SERVICE_MONGODB_URL" in found["mongodb durability"]["remedy"]
    assert found["clock"]["level"] == "ok"


def test_nobody_is_reached_when_urls_lead_nowhere(folder: Path) -> None:
    run = _run_doctor(folder, MONGODB_URL="mongodb://user:hush@127.0.0.1:1", REDIS_URL="redis://:hush@127.0.0.1:1")
    assert run.returncode == 1
    assert "fail mongodb:" in run.stdout
    assert "fail redis:" in run.stdout
    assert "hush" not in run.stdout + run.stderr


def test_setting_is_named_when_it_is_not_acceptable(folder: Path) -> None:
    found = examine(folder, expect_exit_code=1, MAX_ATTEMPTS="many")
    assert "MESSAGE_SERVICE_MAX_ATTEMPTS" in found["settings"]["sentence"]
