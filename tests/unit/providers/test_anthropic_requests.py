"""What Anthropic is asked: its rules about turns, its prompt cache, and what its models and API versions take."""

import pytest
from pydantic import SecretStr

from message_service.errors import ProviderRequestInvalid
from message_service.messages.message import Role
from message_service.providers.anthropic import AnthropicProvider, Version
from message_service.providers.anthropic_messages import OPENING, prompt_body
from message_service.providers.provider import Prompt, Turn
from message_service.providers.reply_stream import Patience
from tests.unit.providers.test_openai_requests import NO_SESSION

CACHED = {"cache_control": {"type": "ephemeral"}}
TALK = (Turn(Role.USER, "Hi"), Turn(Role.ASSISTANT, "Hello."), Turn(Role.USER, "How are you?"))


def _prompt(*turns: Turn, instructions: str | None = "You are Mira.", **more: object) -> Prompt:
    return Prompt(
        instructions=instructions,
        turns=turns or TALK,
        **{"prompt_tokens": 20, "max_output_tokens": 64, "temperature": 0.7, **more},  # type: ignore[arg-type]  # as given
    )


def _ask(prompt: Prompt, model: str, version: Version = "2026-10-21") -> tuple[dict[str, object], tuple[str, ...]]:
    provider = AnthropicProvider(
        NO_SESSION, "https://api.anthropic.com", SecretStr("k"), model, Patience(1, 1), version=version
    )
    request = provider.request(prompt, model, ())
    assert request.url == "https://api.anthropic.com/v1/messages"
    return request.body, request.reader.warnings


def _messages(prompt: Prompt) -> list[tuple[str, str]]:
    messages = prompt_body(prompt, "m", provider="p")["messages"]
    assert isinstance(messages, list)
    return [(message["role"], message["content"][0]["text"]) for message in messages]


def test_body_holds_what_was_asked_and_marks_what_to_cache() -> None:
    body, _ = _ask(_prompt(stop=("END", "\n")), "claude-haiku-5-5")
    assert body == {
        "model": "claude-haiku-5-5",
        "system": [{"type": "text", "text": "You are Mira.", **CACHED}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Hello.", **CACHED}]},
            {"role": "user", "content": [{"type": "text", "text": "How are you?", **CACHED}]},
        ],
        "max_tokens": 64,
        "stream": True,
        "stop_sequences": ["END"],
        "thinking": {"type": "disabled"},
    }


def test_no_more_breakpoints_are_set_than_there_are_when_the_conversation_is_long() -> None:
    body, _ = _ask(_prompt(*TALK * 30), "claude-haiku-5-5")
    assert str(body).count("cache_control") == 3


@pytest.mark.parametrize(
    ("turns", "messages"),
    [
        ([Turn(Role.ASSISTANT, "Hi."), Turn(Role.USER, "Hello")],
         [("user", OPENING), ("assistant", "Hi."), ("user", "Hello")]),
        ([Turn(Role.USER, "A"), Turn(Role.USER, "B")], [("user", "A\n\nB")]),
        ([Turn(Role.USER, "A"), Turn(Role.ASSISTANT, " \n"), Turn(Role.USER, "B")], [("user", "A\n\nB")]),
        ([Turn(Role.USER, "A"), Turn(Role.ASSISTANT, "B"), Turn(Role.SYSTEM, "It rains."), Turn(Role.USER, "C")],
         [("user", "A"), ("assistant", "B"), ("user", "It rains.\n\nC")]),
        ([Turn(Role.SYSTEM, "Be kind."), Turn(Role.USER, "A")], [("user", "A")]),
    ],
)  # fmt: skip
def test_roles_alternate_and_a_user_begins_whatever_the_conversation(
    turns: list[Turn], messages: list[tuple[str, str]]
) -> None:
    assert _messages(_prompt(*turns)) == messages


def test_system_turns_that_open_the_conversation_belong_to_the_system_prompt() -> None:
    body = prompt_body(_prompt(Turn(Role.SYSTEM, "Be kind."), Turn(Role.USER, "A")), "m", provider="p")
    assert body["system"] == [{"type": "text", "text": "You are Mira.\n\nBe kind.", **CACHED}]
    assert "system" not in prompt_body(_prompt(Turn(Role.USER, "A"), instructions=None), "m", provider="p")


def test_prompt_is_refused_when_it_holds_nothing_but_white_space() -> None:
    with pytest.raises(ProviderRequestInvalid):
        prompt_body(_prompt(Turn(Role.USER, "  \n")), "m", provider="p")


@pytest.mark.parametrize(
    ("model", "version", "takes_temperature", "thinking"),
    [
        ("claude-haiku-5-5", "2026-10-21", False, "disabled"),
        ("claude-haiku-5-5", "2023-06-01", False, "disabled"),
        ("claude-sonnet-5-5", "2023-06-01", False, "between_tools"),
        ("claude-sonnet-5", "2023-06-01", False, "disabled"),
        ("claude-opus-5-5", "2026-10-21", False, None),
        ("claude-fable-5-2", "2026-10-21", False, None),
        ("claude-opus-4-8", "2023-06-01", False, None),
        ("claude-sonnet-4-6", "2023-06-01", True, None),
        ("claude-sonnet-4-6", "2026-10-21", False, None),
        ("claude-haiku-4-5-20251001", "2023-06-01", True, None),
        ("claude-3-5-haiku-latest", "2023-06-01", True, None),
        ("qwen3-8b", "2023-06-01", True, None),
        ("qwen3-8b", "2026-10-21", False, None),
    ],
)
def test_sampling_and_thinking_are_what_model_and_version_take(
    model: str, version: Version, takes_temperature: bool, thinking: str | None
) -> None:
    body, warnings = _ask(_prompt(), model, version)
    assert ("temperature" in body) is takes_temperature
    assert warnings == (() if takes_temperature else (f"temperature was left out: {model} does not take it",))
    assert body.get("thinking") == (None if thinking is None else {"type": thinking})


def test_temperature_is_lowered_and_said_when_it_is_higher_than_the_api_takes() -> None:
    body, warnings = _ask(_prompt(temperature=1.6), "claude-sonnet-4-6", "2023-06-01")
    assert body["temperature"] == 1
    assert warnings == ("temperature was lowered to 1, the highest this API takes",)


async def test_only_older_models_go_on_from_a_beginning() -> None:
    provider = AnthropicProvider(NO_SESSION, "https://x", None, "m", Patience(1, 1), version="2026-10-21")
    able = {
        model: (await provider.capabilities(model)).can_prefill
        for model in ("claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-4-7", "claude-haiku-5-5")
    }
    assert list(able.values()) == [True, False, False, False]


def test_no_more_output_is_asked_for_than_the_model_writes() -> None:
    body, warnings = _ask(_prompt(max_output_tokens=100_000, temperature=None), "claude-haiku-4-5")
    assert body["max_tokens"] == 64_000
    assert warnings == ("max_output_tokens was lowered to 64000, the most that claude-haiku-4-5 writes",)
