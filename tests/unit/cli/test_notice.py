"""The supervisor's log lines look like those of the other processes."""

import json

import pytest

from message_service.cli.notice import open_notices


def test_line_has_the_same_fields_as_every_log_when_json(capsys: pytest.CaptureFixture[str]) -> None:
    open_notices("json")("process.ended", level="warning", process="worker", exit_code=-9)
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert entry.pop("at").endswith("Z")
    assert entry == {
        "event": "process.ended",
        "level": "warning",
        "role": "dev",
        "process": "worker",
        "exit_code": -9,
    }


def test_line_is_json_when_standard_error_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    open_notices("auto")("dev.stopping")
    assert json.loads(capsys.readouterr().err)["event"] == "dev.stopping"


def test_line_is_text_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    open_notices("text")("process.ended", process="api")
    assert capsys.readouterr().err.rstrip().endswith("[info] process.ended process=api")
