"""What OpenAI's models take, by family: they share an API and not its parameters."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OpenAiModel:
    """None where nobody told. `effort` is the least reasoning a model can be asked for; None: it has no such choice."""

    context_tokens: int | None = None
    max_output_tokens: int | None = None
    takes_temperature: bool = True
    effort: str | None = None


# The first that matches from the beginning of the name. Sampling of models that reason is refused unless they
# are told not to, which also spares a reader the wait and the output tokens that thinking costs.
_FAMILIES: tuple[tuple[str, OpenAiModel], ...] = (
    (r"gpt-4\.1", OpenAiModel(1_047_576, 32_768)),
    (r"gpt-4o|chatgpt-4o", OpenAiModel(128_000, 16_384)),
    (r"gpt-(3\.5|4)", OpenAiModel()),
    (r"gpt-5(\.\d)?-chat", OpenAiModel(128_000, 16_384, takes_temperature=False)),
    (r"gpt-\d(\.\d)?-(pro|codex|astra)", OpenAiModel(takes_temperature=False)),
    (r"gpt-5(-mini|-nano)?(-\d{4}|$)", OpenAiModel(400_000, 128_000, takes_temperature=False, effort="minimal")),
    (r"gpt-5\.[1-3]", OpenAiModel(400_000, 128_000, effort="none")),
    (r"gpt-(5\.|[6-9])", OpenAiModel(1_050_000, 128_000, effort="none")),
    (r"o\d", OpenAiModel(200_000, 100_000, takes_temperature=False, effort="low")),
)
_UNKNOWN = OpenAiModel()


def openai_model(name: str) -> OpenAiModel:
    """By the name, without the vendor's prefix that gateways put before it. An unknown one is asked as it comes."""
    bare = name.lower().removeprefix("openai/").removeprefix("ft:")
    return next((model for pattern, model in _FAMILIES if re.match(pattern, bare)), _UNKNOWN)
