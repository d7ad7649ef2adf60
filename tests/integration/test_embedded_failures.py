"""Where an embedded server cannot start, the refusal says what to do, and nothing is left running."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from message_service.embedded.binaries import explain_exit, find_program, server_environment
from message_service.embedded.child import fresh_log, start_child, stop_children
from message_service.embedded.layout import Layout
from message_service.embedded.lock import is_held
from message_service.embedded.servers import start_embedded_servers
from message_service.errors import EmbeddedServerFailed

_VARIABLE = "MESSAGE_SERVICE_MONGODB_URL"


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="message-service-test-") as name:
        yield Path(name) / "data"


def test_both_ways_out_are_named_when_the_wheel_is_missing() -> None:
    with pytest.raises(EmbeddedServerFailed) as refusal:
        find_program("a-wheel-nobody-published", "mongod", url_variable=_VARIABLE)
    assert "message-service[embedded]" in refusal.value.detail
    assert _VARIABLE in refusal.value.detail


def test_libraries_are_named_when_the_loader_lacks_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = folder.parent / "libraries"
    libraries.mkdir()
    (libraries / "libcurl.so.4").touch()  # found first, and no library: the loader gives up as when there is none
    monkeypatch.setenv("LD_LIBRARY_PATH", str(libraries))
    with pytest.raises(EmbeddedServerFailed) as refusal:
        start_embedded_servers(folder)
    for wanted in ("libcurl.so.4", "apt-get install libcurl4 libssl3", _VARIABLE):
        assert wanted in refusal.value.detail
    assert not is_held(Layout.of(folder).lock)


def test_system_is_named_when_the_program_is_for_another(folder: Path) -> None:
    folder.mkdir()
    program = folder / "mongod"
    program.write_bytes(b"\x7fELF of another machine")
    program.chmod(0o700)
    log = folder / "log"
    with fresh_log(log) as output:
        child = start_child([str(program)], environment=server_environment(), output=output)
    sentence = explain_exit("mongod", child.wait(10), log, url_variable=_VARIABLE)
    assert "Exec format error" in sentence
    assert "Linux on x86-64" in sentence
    assert _VARIABLE in sentence


def test_log_is_named_and_nothing_runs_when_the_data_is_damaged(folder: Path) -> None:
    start_embedded_servers(folder).stop()
    layout = Layout.of(folder)
    turtle = layout.mongod_dir / "WiredTiger.turtle"
    sound = turtle.read_bytes()
    turtle.write_bytes(b"damaged")
    with pytest.raises(EmbeddedServerFailed) as refusal:
        start_embedded_servers(folder)
    assert str(layout.mongod_log) in refusal.value.detail
    assert not is_held(layout.lock)

    turtle.write_bytes(sound)
    start_embedded_servers(folder).stop()


def test_folder_is_named_when_it_cannot_be_made(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    with pytest.raises(EmbeddedServerFailed) as refusal:
        start_embedded_servers(folder / "data")
    assert str(folder) in refusal.value.detail
    assert "MESSAGE_SERVICE_DATA_DIR" in refusal.value.detail


def test_last_log_is_kept_when_a_new_one_begins(folder: Path) -> None:
    start_embedded_servers(folder).stop()
    start_embedded_servers(folder).stop()
    layout = Layout.of(folder)
    for log in (layout.mongod_log, layout.mongod_log.with_name("mongod.log.previous")):
        lines = log.read_text().splitlines()
        assert json.loads(lines[-1])["attr"] == {"exitCode": 0}
        assert sum("MongoDB starting" in line for line in lines) == 1


def test_child_is_killed_when_it_ignores_the_request_to_stop(folder: Path) -> None:
    folder.mkdir()
    ready = folder / "ready"
    script = f"trap '' TERM; touch {ready}; while :; do sleep 0.05; done"
    with fresh_log(folder / "log") as output:
        child = start_child(["/bin/sh", "-c", script], environment=server_environment(), output=output)
    while not ready.exists():
        assert child.poll() is None
    stop_children([child], patience_seconds=0.3)
    assert child.returncode == -9
