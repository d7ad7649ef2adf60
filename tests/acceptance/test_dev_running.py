"""`message-service dev` brings everything up, says how to use it, and keeps it up."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from message_service.embedded.layout import Layout
from tests.fixtures.dev import Dev, start_dev
from tests.fixtures.processes import children_of, command_line, listening_tcp_sockets, wait_until


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="message-service-test-") as name:
        yield Path(name) / "data"


@pytest.fixture(scope="module")
def dev(folder: Path) -> Iterator[Dev]:
    with start_dev(folder) as running:
        running.await_ready()
        yield running


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_reply_is_streamed_when_the_printed_command_is_pasted(dev: Dev, shell: str) -> None:
    program = shutil.which(shell)
    if program is None or shutil.which("curl") is None:
        pytest.skip(f"{shell} and curl are needed")
    pasted = subprocess.run([program], input=dev.example_command, capture_output=True, text=True, timeout=30)
    assert "event: reply.delta" in pasted.stdout, pasted.stderr
    assert "event: reply.completed" in pasted.stdout


def test_panel_names_what_answers_when_ready(dev: Dev, folder: Path) -> None:
    assert "ready in" in dev.printed
    assert "scripted" in dev.printed
    assert "not for production" in dev.printed
    assert str(folder) in "".join(re.findall(r"[^\s│╭╰─]+", dev.printed))
    for path in ("/docs", "/console", "/metrics"):
        try:
            with urllib.request.urlopen(dev.base_url + path, timeout=10) as response:
                status = response.status
        except urllib.error.HTTPError as fault:
            status = fault.code
            fault.close()
        assert (dev.base_url + path in dev.printed) == (status == HTTPStatus.OK)


def test_only_the_api_listens_on_tcp_when_ready(dev: Dev) -> None:
    listening = {pid: listening_tcp_sockets(pid) for pid in children_of(dev.process.pid)}
    port = int(dev.base_url.rpartition(":")[2])
    assert {pid: found for pid, found in listening.items() if found} == {
        dev.child("message_service serve"): [f"0100007F:{port:04X}"]
    }


def test_password_is_on_no_command_line_when_running(dev: Dev, folder: Path) -> None:
    password = Layout.of(folder).redis_password.read_text().strip()
    for pid in [dev.process.pid, *children_of(dev.process.pid)]:
        assert password not in command_line(pid)


def test_supervisor_loads_no_web_framework_when_running(dev: Dev) -> None:
    """It waits for nearly all of its life, so it is to be small."""
    mapped = Path(f"/proc/{dev.process.pid}/maps").read_text()
    assert "orjson" not in mapped
    assert "aiohttp" not in mapped


def test_dead_letters_are_listed_when_no_url_is_set(dev: Dev, folder: Path) -> None:
    body = {"conversation_id": "dead", "content": "/script fail=auth\nNo.", "reply": {}}
    failed = dev.post("/v1/messages", body)["reply"]["id"]
    wait_until(lambda: dev.get(f"/v1/replies/{failed}")["status"] == "failed", seconds=15, what="the reply has failed")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MESSAGE_SERVICE_")}
    listed = subprocess.run(
        [sys.executable, "-m", "message_service", "dead-letters", "list", "--json"],
        cwd=folder,
        env=environment | {"MESSAGE_SERVICE_DATA_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert [letter["id"] for letter in json.loads(listed.stdout)] == [failed], listed.stderr


@pytest.mark.parametrize("victim", ["message_service serve", "mongod", "valkey-server"])
def test_process_is_back_and_replies_come_when_it_was_killed(dev: Dev, victim: str) -> None:
    before = len(dev.logged)
    pid = dev.child(victim)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: '"process.ended"' in dev.logged[before:], seconds=5, what="a line in the log")
    wait_until(lambda: dev.has_child(victim) and dev.child(victim) != pid, seconds=20, what="a new process")
    wait_until(lambda: _is_answered(dev), seconds=30, what="a reply")
    assert dev.process.poll() is None


@pytest.mark.parametrize("has_standby", [True, False], ids=["one stands by", "none stands by"])
def test_reply_runs_again_at_once_when_its_worker_was_killed(dev: Dev, has_standby: bool) -> None:
    """A replacement that did not know whom it replaces would wait for the end of a lease of 10 s."""
    victim = dev.worker
    standby = _await_standby(dev)
    if has_standby:
        _await_rest(standby)
    body = {"conversation_id": "killed", "content": "/script tokens=4000 rate=50\nOn and on.", "reply": {}}
    reply = dev.post("/v1/messages", body)["reply"]["id"]
    with dev.watch(reply) as events:
        assert "reply.delta" in itertools.islice(events, 3)
        if not has_standby:
            os.kill(standby, signal.SIGKILL)
        os.kill(victim, signal.SIGKILL)
        killed_at = time.monotonic()
        after = list(itertools.takewhile(lambda event: event != "reply.started", events))
        seconds = time.monotonic() - killed_at
    print(f"started again after {seconds:.2f} s, with{'' if has_standby else 'out'} a standby")  # noqa: T201  # the figure that is asked for
    dev.post(f"/v1/replies/{reply}/cancel", {})
    assert "reply.reset" in after
    assert dev.get(f"/v1/replies/{reply}")["attempts"] == 2
    assert dev.worker != victim
    assert (dev.worker == standby) == has_standby
    assert seconds < 8


def _await_standby(dev: Dev) -> int:
    found: list[int] = []

    def is_one_there() -> bool:
        # Looked at once: a process that is about to be another program, or has just ended, has no command line.
        found[:] = [pid for pid in dev.children("work --standby") if pid != dev.worker]
        return len(found) == 1

    wait_until(is_one_there, seconds=20, what="another worker stands by")
    return found[0]


def _await_rest(pid: int) -> None:
    """Until it uses no CPU any more, for it has loaded what it needs."""

    def used_seconds() -> str:
        return " ".join(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13])

    def is_at_rest() -> bool:
        before = used_seconds()
        time.sleep(0.5)
        return used_seconds() == before

    wait_until(is_at_rest, seconds=30, what="the standby is loaded")


def _is_answered(dev: Dev) -> bool:
    try:
        reply = dev.post("/v1/messages", {"conversation_id": "killed", "content": "Are you there?", "reply": {}})[
            "reply"
        ]
        wait_until(
            lambda: dev.get(f"/v1/replies/{reply['id']}")["status"] == "completed", seconds=15, what="the reply is done"
        )
    except urllib.error.HTTPError as fault:
        fault.close()
        if fault.code != HTTPStatus.SERVICE_UNAVAILABLE:
            raise
        return False
    except OSError:
        return False
    return True
