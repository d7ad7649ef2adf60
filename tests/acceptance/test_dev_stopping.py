"""`message-service dev` stops in order, leaves nobody behind however it ends, and finds its data again."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from message_service.embedded.layout import Layout
from message_service.embedded.lock import is_held
from tests.fixtures.dev import start_dev
from tests.fixtures.processes import children_of, is_running, wait_until

_STOP_SECONDS = 12.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="message-service-test-") as name:
        yield Path(name) / "data"


def await_end(pids: list[int]) -> None:
    wait_until(lambda: not any(map(is_running, pids)), seconds=15, what="all children ended")


def test_everything_ends_in_order_and_data_is_kept_when_interrupted(folder: Path) -> None:
    with start_dev(folder) as first:
        first.await_ready()
        message = first.post("/v1/messages", {"conversation_id": "kept", "content": "Remember me."})["message"]
        everyone = children_of(first.process.pid)
        assert 4 <= len(everyone) <= 5, "another worker may stand by"
        first.process.send_signal(signal.SIGINT)
        assert first.await_exit(_STOP_SECONDS) == 0
        assert not any(map(is_running, everyone))
        assert "Traceback" not in first.logged
    mongod_log = Layout.of(folder).mongod_log.read_text()
    assert '"exitCode":0' in mongod_log.splitlines()[-1]

    with start_dev(folder) as second:
        second.await_ready()
        assert second.get(f"/v1/messages/{message['id']}")["content"] == "Remember me."
        second.process.send_signal(signal.SIGTERM)
        assert second.await_exit(_STOP_SECONDS) == 0


def test_running_reply_is_cut_short_when_interrupted_twice(folder: Path) -> None:
    with start_dev(folder, SCRIPTED_TOKENS_PER_SECOND="0.5", DRAIN_SECONDS="60") as dev:
        dev.await_ready()
        reply = dev.post("/v1/messages", {"conversation_id": "long", "content": "Tell me a story.", "reply": {}})[
            "reply"
        ]
        wait_until(
            lambda: dev.get(f"/v1/replies/{reply['id']}")["status"] == "running", seconds=10, what="the reply runs"
        )
        everyone = children_of(dev.process.pid)
        api = dev.child("message_service serve")
        dev.process.send_signal(signal.SIGINT)
        wait_until(lambda: not is_running(api), seconds=_STOP_SECONDS, what="the API ended")
        assert dev.process.poll() is None
        dev.process.send_signal(signal.SIGINT)
        assert dev.await_exit(_STOP_SECONDS) == 0
        assert not any(map(is_running, everyone))


def test_start_is_given_up_when_interrupted_before_it_is_ready(folder: Path) -> None:
    with start_dev(folder) as dev:
        wait_until(lambda: is_held(Layout.of(folder).lock), seconds=20, what="the start has begun")
        dev.process.send_signal(signal.SIGINT)
        assert dev.await_exit(_STOP_SECONDS) == 0
        assert not is_held(Layout.of(folder).lock)
        assert "Traceback" not in dev.logged


def test_no_orphan_is_left_when_the_supervisor_is_killed(folder: Path) -> None:
    with start_dev(folder) as dev:
        dev.await_ready()
        everyone = children_of(dev.process.pid)
        assert 4 <= len(everyone) <= 5, "another worker may stand by"
        dev.process.kill()
        dev.process.wait()
        await_end(everyone)
        with start_dev(folder) as again:
            again.await_ready()


def test_no_orphan_is_left_when_the_supervisor_is_killed_while_starting(folder: Path) -> None:
    """Wherever the start has come to: a child that asked for its signal too late must notice by itself."""
    for delay_seconds in (0.4, 0.8, 1.2, 1.6):
        with start_dev(folder) as dev:
            time.sleep(delay_seconds)  # where the start has come to then differs, on purpose
            everyone = children_of(dev.process.pid)
            os.kill(dev.process.pid, signal.SIGKILL)
            dev.process.wait()
            await_end(everyone)
    wait_until(lambda: not is_held(Layout.of(folder).lock), seconds=15, what="the folder is free")
