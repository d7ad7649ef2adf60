"""Settings come from the environment, and a wrong one stops the start with a sentence that names it."""

import os
from pathlib import Path
from typing import Any

import pytest

from message_service.errors import InvalidSettings
from message_service.settings import ENVIRONMENT_PREFIX, Settings, load_settings

SECRET = "hunter2-is-my-secret"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().startswith(ENVIRONMENT_PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def given_environment(monkeypatch: pytest.MonkeyPatch) -> Any:
    def give(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(ENVIRONMENT_PREFIX + name.upper(), value)

    return give


def refusal() -> str:
    with pytest.raises(InvalidSettings) as refused:
        load_settings()
    return refused.value.detail


def test_defaults_hold_when_nothing_is_set() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.data_dir) == ("127.0.0.1", 8000, Path(".data"))
    assert (settings.rate_limit_per_minute, settings.max_in_process) == (100, 1000)
    assert settings.enabled_providers == ("scripted",)
    assert settings.mongodb_url is settings.redis_url is settings.gateway_key is None


def test_environment_counts_when_it_is_set(given_environment: Any) -> None:
    given_environment(port="9001", rate_limit_per_minute="7", lease_seconds="2.5", mongodb_url="mongodb://x/")
    settings = load_settings()
    assert (settings.port, settings.rate_limit_per_minute, settings.lease_seconds) == (9001, 7, 2.5)
    assert settings.mongodb_url is not None
    assert settings.mongodb_url.get_secret_value() == "mongodb://x/"


def test_file_counts_when_the_environment_is_silent(tmp_path: Path, given_environment: Any) -> None:
    (tmp_path / ".env").write_text("MESSAGE_SERVICE_PORT=9002\nMESSAGE_SERVICE_LOG_LEVEL=debug\nOTHER=1\n")
    given_environment(port="9003")
    settings = load_settings()
    assert (settings.port, settings.log_level) == (9003, "debug")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "65536"),
        ("port", "http"),
        ("rate_limit_per_minute", "0"),
        ("rate_limit_per_minute", "a hundred"),
        ("max_in_process", "10001"),
        ("lease_seconds", "0.5"),
        ("max_body_bytes", "100"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("mongodb_database", "x" * 39),
        ("context_tokens", "10"),
        ("token_timeout_seconds", "0"),
        ("providers", "scripted,gpt"),
        ("providers", "grok"),
        ("lm_studio_url", "localhost:1234"),
        ("lm_studio_url", "http://localhost:1234,ftp://other"),
        ("lm_studio_url", "http://"),
        ("openai_base_url", "api.openai.com"),
        ("openai_base_url", "file:///etc/passwd"),
        ("openai_base_url", "https://key@api.openai.com/v1"),
        ("openai_base_url", "https://@api.openai.com/v1"),
        ("openai_base_url", "https://api.openai.com/v1?key=k"),
        ("anthropic_base_url", "https://:pw@api.anthropic.com"),
        ("openai_dialect", "legacy"),
        ("anthropic_version", "2024-01-01"),
        ("openai_api_key", "key\nof two lines"),
        ("anthropic_api_key", "schl\u00fcssel"),
        ("provider_tiers", "lmstudio=2"),
        ("provider_weights", "openai-2=1"),
        ("provider_weights", "openai=-1"),
        ("provider_concurrency", "lm_studio-x=4"),
        ("provider_concurrency", "lm_studio=0"),
        ("provider_concurrency", "4"),
    ],
)
def test_start_is_refused_with_the_name_of_the_variable_when_a_value_is_wrong(
    given_environment: Any, name: str, value: str
) -> None:
    given_environment(**{name: value})
    (line,) = refusal().splitlines()
    assert line.startswith(f"MESSAGE_SERVICE_{name.upper()}: ")
    sentence = line.partition(": ")[2]
    assert len(sentence.split()) >= 4


def test_every_fault_has_a_line_when_several_values_are_wrong(given_environment: Any) -> None:
    given_environment(port="-1", log_level="loud", max_attempts="0")
    lines = refusal().splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == [
        "MESSAGE_SERVICE_LOG_LEVEL",
        "MESSAGE_SERVICE_MAX_ATTEMPTS",
        "MESSAGE_SERVICE_PORT",
    ]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.10", "example.org"])
def test_start_is_refused_when_others_can_reach_it_and_no_gateway_key_is_set(given_environment: Any, host: str) -> None:
    given_environment(host=host)
    assert "gateway_key must be set" in refusal()


def test_start_is_refused_when_others_can_reach_it_and_the_gateway_key_is_empty(given_environment: Any) -> None:
    given_environment(host="0.0.0.0", gateway_key="")
    assert "gateway_key" in refusal().lower()


def test_others_may_reach_it_when_a_gateway_key_is_set(given_environment: Any) -> None:
    given_environment(host="0.0.0.0", gateway_key=SECRET)
    assert load_settings().host == "0.0.0.0"


def test_variable_counts_as_unset_when_it_is_empty(given_environment: Any) -> None:
    given_environment(host="", port="", mongodb_url="", gateway_key="", providers="")
    assert load_settings() == Settings()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_no_gateway_key_is_needed_when_only_this_machine_can_reach_it(given_environment: Any, host: str) -> None:
    given_environment(host=host)
    assert load_settings().gateway_key is None


@pytest.mark.parametrize(
    "broken", [{"port": "no"}, {"host": "192.168.1.10", "rate_limit_per_minute": "0"}, {"providers": "gpt"}]
)
def test_no_secret_is_told_when_a_start_is_refused(given_environment: Any, broken: dict[str, str]) -> None:
    secrets = {"mongodb_url": f"mongodb://u:{SECRET}@x/", "redis_url": f"redis://:{SECRET}@x", "gateway_key": SECRET}
    given_environment(**{**secrets, "lm_studio_api_key": SECRET, **broken})
    assert SECRET not in refusal()


def test_no_secret_is_told_when_it_is_in_a_url_that_is_refused(given_environment: Any) -> None:
    given_environment(lm_studio_url=f"http://user:{SECRET}@localhost:1234")
    assert SECRET not in refusal()


def test_no_secret_is_told_when_settings_are_printed(given_environment: Any) -> None:
    given_environment(mongodb_url=f"mongodb://u:{SECRET}@x/", gateway_key=SECRET, lm_studio_api_key=SECRET)
    settings = load_settings()
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize("text", ["lm_studio,scripted", " lm_studio , scripted ,", "lm_studio,,scripted"])
def test_list_is_read_when_it_is_separated_by_commas(given_environment: Any, text: str) -> None:
    given_environment(providers=text, lm_studio_url="http://localhost:1234")
    assert load_settings().enabled_providers == ("lm_studio", "scripted")


def test_urls_are_read_and_trimmed_when_there_are_several(given_environment: Any) -> None:
    given_environment(lm_studio_url="http://localhost:1234/v1/, https://gpu.internal/lm/ ,http://[::1]:1234/v1")
    settings = load_settings()
    assert settings.lm_studio_url == ("http://localhost:1234", "https://gpu.internal/lm", "http://[::1]:1234")
    assert settings.enabled_providers == ("lm_studio",)


def test_start_is_refused_when_a_provider_is_named_that_is_not_configured(given_environment: Any) -> None:
    for name, missing in (
        ("lm_studio", "lm_studio_url"),
        ("openai", "openai_api_key"),
        ("anthropic", "anthropic_api_key"),
    ):
        given_environment(providers=name)
        assert f"{missing} is not set" in refusal()


@pytest.mark.parametrize(
    ("environment", "enabled"),
    [
        ({}, ("scripted",)),
        ({"openai_api_key": SECRET}, ("openai",)),
        ({"openai_base_url": "http://localhost:8080/v1"}, ("openai",)),
        ({"anthropic_api_key": SECRET, "openai_api_key": SECRET}, ("openai", "anthropic")),
        (
            {"anthropic_base_url": "https://claude.internal", "lm_studio_url": "http://localhost:1234"},
            ("lm_studio", "anthropic"),
        ),
        (
            {"providers": "anthropic,openai", "anthropic_api_key": SECRET, "openai_api_key": SECRET},
            ("anthropic", "openai"),
        ),
        ({"providers": "openai,scripted", "openai_api_key": SECRET}, ("openai", "scripted")),
    ],
)
def test_providers_are_those_that_are_configured_when_no_order_is_given(
    given_environment: Any, environment: dict[str, str], enabled: tuple[str, ...]
) -> None:
    given_environment(**environment)
    assert load_settings().enabled_providers == enabled


def test_start_is_refused_when_the_reply_would_fill_the_context(given_environment: Any) -> None:
    given_environment(context_tokens="1024", output_reserve_tokens="1024")
    assert "output_reserve_tokens" in refusal()


def test_every_setting_has_a_meaning_and_a_default() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert not field.is_required(), name


def test_settings_do_not_change_once_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1  # type: ignore[misc]  # what is tested
