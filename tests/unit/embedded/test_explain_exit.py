"""What is said about a server that ended before it was ready."""

import json
import signal
from pathlib import Path

import pytest

from message_service.embedded.binaries import explain_exit

_VARIABLE = "MESSAGE_SERVICE_MONGODB_URL"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "mongod.log"


def test_first_error_is_told_when_the_log_is_structured(log: Path) -> None:
    entries = [
        {"s": "I", "msg": "MongoDB starting"},
        {"s": "E", "msg": "Failed to set up listener", "attr": {"error": "SocketException: in use"}},
        {"s": "F", "msg": "Fatal assertion"},
        {"s": "I", "msg": "Shutting down"},
    ]
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    sentence = explain_exit("mongod", 48, log, url_variable=_VARIABLE)
    assert "exit code 48: Failed to set up listener: SocketException: in use." in sentence
    assert str(log) in sentence
    assert _VARIABLE in sentence


def test_last_line_is_told_when_none_is_marked_as_an_error(log: Path) -> None:
    log.write_text("starting\n*** FATAL CONFIG FILE ERROR ***\n\n")
    assert "*** FATAL CONFIG FILE ERROR ***." in explain_exit("valkey-server", 1, log, url_variable=_VARIABLE)


def test_silence_is_told_when_the_log_is_empty(log: Path) -> None:
    log.touch()
    assert "it wrote nothing." in explain_exit("mongod", 1, log, url_variable=_VARIABLE)


def test_packages_are_named_when_a_library_is_missing(log: Path) -> None:
    log.write_text("mongod: error while loading shared libraries: libcrypto.so.3: cannot open shared object file\n")
    sentence = explain_exit("mongod", 127, log, url_variable=_VARIABLE)
    assert "libcrypto.so.3" in sentence
    assert "apt-get install libcurl4 libssl3" in sentence


def test_processor_is_named_when_an_instruction_is_unknown(log: Path) -> None:
    log.touch()
    assert "AVX" in explain_exit("mongod", -signal.SIGILL, log, url_variable=_VARIABLE)
