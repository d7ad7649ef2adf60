"""The reference of settings says what the code says."""

from pathlib import Path

from message_service.cli.settings_reference import as_markdown, setting_references
from message_service.settings import ENVIRONMENT_PREFIX, Settings

_PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_page_is_current_when_settings_changed() -> None:
    assert _PAGE.read_text("utf-8") == as_markdown(), "run `make docs`"


def test_every_setting_is_described_when_listed() -> None:
    references = {reference.variable: reference for reference in setting_references()}
    assert list(references) == [f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in Settings.model_fields]
    assert all(reference.meaning.endswith(".") for reference in references.values())


def test_values_and_default_are_told_when_a_setting_is_bounded() -> None:
    references = {reference.variable: reference for reference in setting_references()}
    port = references["MESSAGE_SERVICE_PORT"]
    assert (port.values, port.default) == ("integer, 0 to 65,535", "8000")
    log_format = references["MESSAGE_SERVICE_LOG_FORMAT"]
    assert (log_format.values, log_format.default) == ("auto, json, text", "auto")
    mongodb_url = references["MESSAGE_SERVICE_MONGODB_URL"]
    assert (mongodb_url.values, mongodb_url.default) == ("secret", "")
    timeout = references["MESSAGE_SERVICE_TOKEN_TIMEOUT_SECONDS"]
    assert (timeout.values, timeout.default) == ("number, above 0 up to 600", "20")
