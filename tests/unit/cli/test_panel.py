"""What `dev` tells once it runs."""

from pathlib import Path

import pytest

from message_service.cli.address import base_url
from message_service.cli.panel import Running, example_command, print_panel


def running(**changes: object) -> Running:
    facts: dict[str, object] = {
        "base_url": "http://127.0.0.1:8000",
        "pages": ["/docs"],
        "providers": ["lm_studio", "scripted"],
        "data_dir": Path("/data"),
        "embedded": ["mongodb", "redis"],
        "ready_seconds": 1.26,
        "has_gateway_key": False,
    }
    return Running(**{**facts, **changes})  # type: ignore[arg-type]  # the tests below change one fact each


def test_command_is_one_pastable_line_when_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_panel(running())
    lines = capsys.readouterr().out.splitlines()
    assert example_command("http://127.0.0.1:8000", has_gateway_key=False) in lines


def test_command_holds_nothing_that_bash_expands_from_history_when_pasted() -> None:
    assert "!" not in example_command("http://127.0.0.1:8000", has_gateway_key=True)


def test_gateway_key_is_named_and_not_told_when_one_is_set() -> None:
    command = example_command("http://127.0.0.1:8000", has_gateway_key=True)
    assert command.count('"X-Gateway-Key: $MESSAGE_SERVICE_GATEWAY_KEY"') == 2


def test_only_pages_that_exist_are_named_when_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_panel(running(pages=["/docs", "/metrics"]))
    printed = capsys.readouterr().out
    assert "http://127.0.0.1:8000/docs" in printed
    assert "http://127.0.0.1:8000/metrics" in printed
    assert "/console" not in printed


def test_providers_are_in_order_of_preference_when_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_panel(running())
    assert "lm_studio, then scripted" in capsys.readouterr().out


def test_no_warning_is_given_when_nothing_is_embedded(capsys: pytest.CaptureFixture[str]) -> None:
    print_panel(running(embedded=[], data_dir=None))
    printed = capsys.readouterr().out
    assert "not for production" not in printed
    assert "Data folder" not in printed


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("localhost", "http://localhost:80"),
    ],
)
def test_url_can_be_opened_when_listening_on(host: str, url: str) -> None:
    assert base_url(host, 80) == url
