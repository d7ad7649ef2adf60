"""The embedded servers keep what they promise: private, durable, gone with whoever started them."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from redis import Redis
from redis.exceptions import AuthenticationError

from message_service.embedded import mongod_wire
from message_service.embedded.layout import Layout
from message_service.embedded.servers import EmbeddedServers, ServerName, start_embedded_servers
from message_service.errors import EmbeddedServerFailed
from tests.fixtures.processes import (
    command_line,
    environment_of,
    is_running,
    listening_tcp_sockets,
    wait_until,
)

_OWNER = """
import signal, sys
from pathlib import Path
from message_service.embedded.servers import start_embedded_servers
servers = start_embedded_servers(Path(sys.argv[1]))
print(*[child.pid for child in servers.processes.values()], flush=True)
signal.pause()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough a path for sockets, and emptied at once: a MongoDB folder takes 300 MB."""
    with tempfile.TemporaryDirectory(prefix="message-service-test-") as name:
        yield Path(name) / "data"


def mongo_client(servers: EmbeddedServers) -> MongoClient[dict[str, Any]]:
    return MongoClient(servers.mongodb_url)


def test_transaction_rolls_back_when_aborted(servers: EmbeddedServers, fresh_database_name: str) -> None:
    with mongo_client(servers) as client:
        letters = client[fresh_database_name]["letters"]
        with client.start_session() as session:
            with session.start_transaction():
                letters.insert_one({"_id": "kept"}, session=session)
            session.start_transaction()
            letters.insert_one({"_id": "dropped"}, session=session)
            session.abort_transaction()
        assert [letter["_id"] for letter in letters.find()] == ["kept"]


def test_nothing_listens_on_tcp_when_started(servers: EmbeddedServers) -> None:
    listening = {name: listening_tcp_sockets(child.pid) for name, child in servers.processes.items()}
    assert listening == {ServerName.MONGODB: [], ServerName.REDIS: []}


def test_compression_is_declined_when_a_client_offers_it(servers: EmbeddedServers) -> None:
    with mongod_wire.connect(Layout.of(servers.data_dir).mongod_socket) as connection:
        answer = connection.command({"hello": 1, "compression": ["zlib", "snappy", "zstd"]})
    assert answer["ok"] == 1
    assert "compression" not in answer


def test_server_side_javascript_is_refused_when_asked_for(servers: EmbeddedServers, fresh_database_name: str) -> None:
    with mongo_client(servers) as client:
        client[fresh_database_name]["letters"].insert_one({"_id": 1})
        with pytest.raises(OperationFailure, match=r"(?i)script"):
            list(client[fresh_database_name]["letters"].find({"$where": "true"}))


def test_parameters_are_as_promised_when_started(servers: EmbeddedServers) -> None:
    wanted = ("transactionLifetimeLimitSeconds", "enableTestCommands", "diagnosticDataCollectionEnabled")
    with mongo_client(servers) as client:
        found = client.admin.command({"getParameter": 1, **dict.fromkeys(wanted, 1)})
    assert {name: found[name] for name in wanted} == {
        "transactionLifetimeLimitSeconds": 2,
        "enableTestCommands": False,
        "diagnosticDataCollectionEnabled": False,
    }


def test_redis_refuses_when_the_password_is_missing(servers: EmbeddedServers) -> None:
    with (
        Redis(unix_socket_path=str(Layout.of(servers.data_dir).redis_socket)) as stranger,
        pytest.raises(AuthenticationError),
    ):
        stranger.ping()


def test_redis_keeps_everything_when_configured_by_us(servers: EmbeddedServers) -> None:
    with Redis.from_url(servers.redis_url) as client:
        server = client.info()
    assert server["maxmemory_policy"] == "noeviction"
    assert server["aof_enabled"] == 1


def test_password_is_seen_nowhere_when_others_look(servers: EmbeddedServers) -> None:
    layout = Layout.of(servers.data_dir)
    password = layout.redis_password.read_text().strip()
    assert len(password) >= 32
    assert stat.S_IMODE(layout.redis_password.stat().st_mode) == 0o600
    for child in servers.processes.values():
        assert password not in command_line(child.pid)
        assert password not in environment_of(child.pid)


def test_folders_and_sockets_are_private_when_started(servers: EmbeddedServers) -> None:
    layout = Layout.of(servers.data_dir)
    private = (layout.mongod_dir, layout.redis_dir, layout.sockets_dir, layout.mongod_socket, layout.redis_socket)
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in private} == {path.name: 0o700 for path in private}


def test_secrets_of_ours_stay_with_us_when_servers_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESSAGE_SERVICE_GATEWAY_KEY", "only-for-us")
    servers = start_embedded_servers(folder)
    try:
        for child in servers.processes.values():
            assert "only-for-us" not in environment_of(child.pid)
    finally:
        servers.stop()


def test_servers_are_in_groups_of_their_own_when_started(servers: EmbeddedServers) -> None:
    for child in servers.processes.values():
        assert os.getpgid(child.pid) == child.pid


def test_data_is_found_again_when_started_a_second_time(folder: Path) -> None:
    first = start_embedded_servers(folder)
    leave_marks(first)
    pids = [child.pid for child in first.processes.values()]
    first.stop()
    assert [child.returncode for child in first.processes.values()] == [0, 0]
    assert not any(map(is_running, pids))
    assert_marks_are_found(folder)


def test_data_is_found_again_when_the_folder_was_moved(folder: Path) -> None:
    first = start_embedded_servers(folder)
    leave_marks(first)
    first.stop()
    moved = folder.with_name("moved here, 100%")
    folder.rename(moved)
    assert_marks_are_found(moved)


def test_copy_leaves_the_original_alone_when_both_run(folder: Path) -> None:
    """The copy's replica set still names the original's socket, where the original answers."""
    first = start_embedded_servers(folder)
    leave_marks(first)
    first.stop()
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("run"))
    original = start_embedded_servers(folder)
    try:
        assert_marks_are_found(copy)
        with mongo_client(original) as client:
            assert client["kept"]["marks"].count_documents({}) == 1
            assert client.admin.command("hello")["me"] == str(Layout.of(folder).mongod_socket)
    finally:
        original.stop()


def test_second_start_is_refused_when_the_folder_is_in_use(servers: EmbeddedServers) -> None:
    with pytest.raises(EmbeddedServerFailed) as refusal:
        start_embedded_servers(servers.data_dir)
    assert str(servers.data_dir) in refusal.value.detail
    assert "in use" in refusal.value.detail
    with Redis.from_url(servers.redis_url) as client:
        assert client.ping()


def test_sockets_move_to_the_temporary_folder_when_the_path_is_long(folder: Path) -> None:
    long_folder = folder / ("x" * 60) / ("y" * 60)
    sockets_dir = Layout.of(long_folder).sockets_dir
    servers = start_embedded_servers(long_folder)
    try:
        assert sockets_dir.parent == Path(tempfile.gettempdir())
        assert stat.S_IMODE(sockets_dir.stat().st_mode) == 0o700
        leave_marks(servers)
    finally:
        servers.stop()
    assert not sockets_dir.exists()


def test_start_is_refused_when_the_temporary_socket_folder_is_a_link(folder: Path) -> None:
    long_folder = folder / ("x" * 60) / ("y" * 60)
    elsewhere = folder.with_name("elsewhere")
    elsewhere.mkdir()
    trap = Layout.of(long_folder).sockets_dir
    trap.symlink_to(elsewhere)
    try:
        with pytest.raises(EmbeddedServerFailed, match="belongs to someone else"):
            start_embedded_servers(long_folder)
    finally:
        trap.unlink()


def test_start_is_refused_when_asked_for_outside_the_main_thread(folder: Path) -> None:
    refusals = []

    def start() -> None:
        try:
            start_embedded_servers(folder)
        except EmbeddedServerFailed as refusal:
            refusals.append(refusal.detail)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert len(refusals) == 1
    assert "main thread" in refusals[0]


def test_servers_end_and_the_folder_is_free_when_their_owner_is_killed(folder: Path) -> None:
    owner, pids = start_owner(folder)
    owner.send_signal(signal.SIGKILL)
    wait_until(lambda: not is_running(owner.pid), seconds=5, what="the owner ended")
    # At once, while its servers are still shutting down: that must be waited for.
    second = start_embedded_servers(folder)
    try:
        assert not any(map(is_running, pids))
    finally:
        second.stop()
        owner.communicate()


def test_no_orphan_is_left_when_their_owner_is_killed(folder: Path) -> None:
    owner, pids = start_owner(folder)
    with owner:
        owner.kill()
    wait_until(lambda: not any(map(is_running, pids)), seconds=8, what="mongod and redis ended")


def start_owner(folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    owner = subprocess.Popen([sys.executable, "-c", _OWNER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(is_running, pids))
    return owner, pids


def leave_marks(servers: EmbeddedServers) -> None:
    with mongo_client(servers) as client, client.start_session() as session, session.start_transaction():
        client["kept"]["marks"].insert_one({"_id": "mark"}, session=session)
    with Redis.from_url(servers.redis_url) as client:
        client.set("mark", "kept")


def assert_marks_are_found(folder: Path) -> None:
    servers = start_embedded_servers(folder)
    try:
        with mongo_client(servers) as client, client.start_session() as session, session.start_transaction():
            assert client["kept"]["marks"].count_documents({"_id": "mark"}, session=session) == 1
        with Redis.from_url(servers.redis_url) as client:
            assert client.get("mark") == b"kept"
    finally:
        servers.stop()
