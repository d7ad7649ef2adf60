"""What OpenAI and hosts that speak its dialects are asked, model by model."""

from typing import cast

import aiohttp
import pytest
from pydantic import SecretStr

from message_service.messages.message import Role
from message_service.providers.openai import Dialect, OpenAiProvider
from message_service.providers.openai_models import openai_model
from message_service.providers.provider import Prompt, Turn
from message_service.providers.reply_stream import Patience

OPENAI = "https://api.openai.com/v1"
OTHER = "https://gateway.example/api/v1"


def _prompt(**more: object) -> Prompt:
    return Prompt(
        instructions="You are Mira.",
        turns=(Turn(Role.USER, "Hi"), Turn(Role.ASSISTANT, "Hello."), Turn(Role.USER, "A"), Turn(Role.USER, "B")),
        **{"prompt_tokens": 20, "max_output_tokens": 64, "temperature": 0.7, "cache_key": "c", **more},  # type: ignore[arg-type]  # as given
    )


NO_SESSION = cast(aiohttp.ClientSession, None)
"""Nothing is sent here."""


def _ask(
    prompt: Prompt, model: str, url: str = OPENAI, dialect: Dialect = "auto"
) -> tuple[str, dict[str, object], tuple[str, ...]]:
    provider = OpenAiProvider(NO_SESSION, url, SecretStr("k"), model, Patience(1, 1), dialect=dialect)
    request = provider.request(prompt, model, ())
    return request.url, request.body, request.reader.warnings


def test_body_leaves_nothing_at_the_vendor_when_the_dialect_is_responses() -> None:
    url, body, warnings = _ask(_prompt(stop=("END",)), "gpt-6-luna")
    assert url == f"{OPENAI}/responses"
    assert body == {
        "model": "gpt-6-luna",
        "instructions": "You are Mira.",
        "input": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "A\n\nB"},
        ],
        "max_output_tokens": 64,
        "temperature": 0.7,
        "reasoning": {"effort": "none"},
        "prompt_cache_key": "c",
        "store": False,
        "stream": True,
        "stream_options": {"include_obfuscation": False},
    }
    assert warnings == ()


@pytest.mark.parametrize(
    ("model", "effort", "takes_temperature"),
    [
        ("gpt-6-luna", "none", True),
        ("gpt-6.1-sol", "none", True),
        ("openai/gpt-5.4-mini", "none", True),
        ("gpt-5.2", "none", True),
        ("gpt-5-mini", "minimal", False),
        ("gpt-5-2025-08-07", "minimal", False),
        ("gpt-5.2-pro", None, False),
        ("gpt-5.3-chat-latest", None, False),
        ("o3", "low", False),
        ("o4-mini-2025-04-16", "low", False),
        ("gpt-4.1-mini", None, True),
        ("gpt-4o", None, True),
        ("llama-4-maverick", None, True),
    ],
)
def test_sampling_is_left_out_and_said_when_a_model_takes_none(
    model: str, effort: str | None, takes_temperature: bool
) -> None:
    assert openai_model(model).effort == effort
    _, body, warnings = _ask(_prompt(), model)
    assert body.get("reasoning") == (None if effort is None else {"effort": effort})
    assert ("temperature" in body) is takes_temperature
    assert bool(warnings) is not takes_temperature
    assert all("temperature was left out" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("dialect", "url", "name"),
    [
        ("responses", OPENAI, "max_output_tokens"),
        ("chat_completions", OPENAI, "max_completion_tokens"),
        ("auto", OTHER, "max_tokens"),
    ],
)
def test_no_more_output_is_asked_for_than_the_model_writes(dialect: Dialect, url: str, name: str) -> None:
    _, body, warnings = _ask(_prompt(max_output_tokens=20_000), "gpt-4o", url, dialect)
    assert body[name] == 16_384
    assert warnings == ("max_output_tokens was lowered to 16384, the most that gpt-4o writes",)
    assert _ask(_prompt(max_output_tokens=16_384), "gpt-4o", url, dialect)[2] == ()


def test_few_tokens_become_the_fewest_there_are_when_the_dialect_is_responses() -> None:
    _, body, warnings = _ask(_prompt(max_output_tokens=3), "gpt-6-luna")
    assert body["max_output_tokens"] == 16
    assert "raised to 16" in warnings[0]


@pytest.mark.parametrize(
    ("url", "dialect", "asked"),
    [
        (OPENAI, "auto", f"{OPENAI}/responses"),
        ("https://api.openai.com", "auto", f"{OPENAI}/responses"),
        ("https://eu.api.openai.com/v1/", "auto", "https://eu.api.openai.com/v1/responses"),
        (OPENAI, "chat_completions", f"{OPENAI}/chat/completions"),
        (OTHER, "auto", f"{OTHER}/chat/completions"),
        (OTHER, "responses", f"{OTHER}/responses"),
        ("http://localhost:8080", "auto", "http://localhost:8080/v1/chat/completions"),
        ("https://api.openai.com.evil.example/v1", "auto", "https://api.openai.com.evil.example/v1/chat/completions"),
    ],
)
def test_dialect_is_the_hosts_when_none_is_chosen(url: str, dialect: Dialect, asked: str) -> None:
    assert _ask(_prompt(), "m", url, dialect)[0] == asked


def test_output_limit_has_the_name_that_each_host_knows_when_the_dialect_is_chat_completions() -> None:
    _, at_openai, _ = _ask(_prompt(), "gpt-6-luna", dialect="chat_completions")
    _, elsewhere, _ = _ask(_prompt(), "some-model", OTHER)
    assert at_openai["max_completion_tokens"] == elsewhere["max_tokens"] == 64
    assert "max_tokens" not in at_openai
    assert at_openai["reasoning_effort"] == "none"
    assert "reasoning_effort" not in elsewhere
