"""What Anthropic's models take, by family and API version."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AnthropicModel:
    """`thinking` is what turns thinking off where it is on by itself and can be turned off; None: nothing to say."""

    context_tokens: int | None
    max_output_tokens: int | None
    takes_temperature: bool = False
    can_prefill: bool = False
    thinking: str | None = None


# The first that matches from the beginning of the name. `max_tokens` caps thinking and text together, so a
# model that thinks by default can use up a short reply's tokens before its first word.
_FAMILIES: tuple[tuple[str, AnthropicModel], ...] = (
    (r"claude-(haiku-5|sonnet-5$|opus-5$)", AnthropicModel(1_000_000, 128_000, thinking="disabled")),
    (r"claude-sonnet-5-5", AnthropicModel(1_000_000, 128_000, thinking="between_tools")),
    (r"claude-(opus|sonnet)-4-6", AnthropicModel(1_000_000, 128_000, takes_temperature=True)),
    (r"claude-\w+-4-[0-5]", AnthropicModel(200_000, 64_000, takes_temperature=True, can_prefill=True)),
    (r"claude-\w+-4-(\d{8}|$)|claude-[1-3]", AnthropicModel(200_000, None, takes_temperature=True, can_prefill=True)),
    (r"claude-", AnthropicModel(1_000_000, 128_000)),
)
_UNKNOWN = AnthropicModel(None, None, takes_temperature=True, can_prefill=True)


def anthropic_model(name: str) -> AnthropicModel:
    """By the name, without the vendor's prefix that gateways put before it. An unknown one is no Claude."""
    bare = name.lower().removeprefix("anthropic/")
    return next((model for pattern, model in _FAMILIES if re.match(pattern, bare)), _UNKNOWN)
