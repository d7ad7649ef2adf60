"""What keeps `message-service dev` from starting is one sentence that says what to do, and exit code 2."""

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from message_service.embedded.layout import Layout
from message_service.embedded.lock import is_held
from message_service.embedded.servers import EmbeddedServers
from tests.fixtures.dev import Dev, start_dev
from tests.fixtures.processes import children_of, command_line

_REFUSED = 2
_SECONDS = 90.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="message-service-test-") as name:
        yield Path(name) / "data"


def sentence_of(dev: Dev) -> str:
    """The last refusal, once it has come: those of its children come before."""
    assert dev.await_exit(_SECONDS) == _REFUSED, dev.logged
    assert "Traceback" not in dev.logged
    return [line for line in dev.logged.splitlines() if line.startswith("message-service: ")][-1]


def test_port_is_named_when_it_is_in_use(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with start_dev(folder, port=port) as dev:
            sentence = sentence_of(dev)
    assert str(port) in sentence
    assert "MESSAGE_SERVICE_PORT" in sentence
    assert not folder.exists()


def test_folder_is_named_when_another_has_it(servers: EmbeddedServers) -> None:
    with start_dev(servers.data_dir) as dev:
        assert str(servers.data_dir) in sentence_of(dev)
    assert all(child.poll() is None for child in servers.processes.values())


def test_setting_is_named_when_it_is_not_acceptable(folder: Path) -> None:
    with start_dev(folder, MAX_ATTEMPTS="many") as dev:
        assert "MESSAGE_SERVICE_MAX_ATTEMPTS" in sentence_of(dev)


def test_secret_is_not_told_when_the_settings_are_refused(folder: Path) -> None:
    with start_dev(folder, GATEWAY_KEY="hush-hush", MAX_ATTEMPTS="many") as dev:
        sentence_of(dev)
        assert "hush-hush" not in dev.logged


def test_servers_are_stopped_when_the_api_does_not_start(folder: Path) -> None:
    """The own MongoDB it was told of is not there; the embedded Redis had been started."""
    nowhere = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=500"
    with start_dev(folder, MONGODB_URL=nowhere) as dev:
        assert "before it was ready" in sentence_of(dev)
        assert "message-service: The message store cannot be reached." in dev.logged
    assert not is_held(Layout.of(folder).lock)


def test_only_what_is_missing_is_embedded_when_one_url_is_set(folder: Path, servers: EmbeddedServers) -> None:
    with start_dev(folder, MONGODB_URL=servers.mongodb_url, MONGODB_DATABASE="one_url_set") as dev:
        dev.await_ready()
        commands = [command_line(pid) for pid in children_of(dev.process.pid)]
        assert not any("mongod " in command for command in commands)
        assert sum("valkey-server" in command for command in commands) == 1
        assert dev.post("/v1/messages", {"conversation_id": "own", "content": "Hello."})["message"]["seq"] == 1
