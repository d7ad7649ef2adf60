"""How long a prompt was, and how much a model takes, as servers put it into words when a prompt is too long."""

import re

_PROMPT_THEN_CONTEXT = tuple(
    re.compile(words, re.IGNORECASE | re.DOTALL)
    for words in (
        r"request \((\d+) tokens\) exceeds the available context size \((\d+) tokens\)",  # llama.cpp
        r"n_keep: (\d+)\s*>=\s*n_ctx: (\d+)",  # LM Studio
        r"keep the first (\d+) tokens .{0,100}context length of only (\d+)",  # LM Studio before
        r"prompt is too long: (\d+) tokens > (\d+)",  # Anthropic
    )
)
_CONTEXT = re.compile(r"maximum context length is (\d+) tokens", re.IGNORECASE)  # OpenAI, vLLM
_PROMPT = re.compile(r"(?:resulted in|requested|contains at least|your prompt contains) (\d+)", re.IGNORECASE)


def context_numbers(message: str) -> tuple[int | None, int | None]:
    """Tokens of the prompt and of the context; None for what is not told."""
    for pattern in _PROMPT_THEN_CONTEXT:
        if found := pattern.search(message):
            return int(found[1]), int(found[2])
    context, prompt = _CONTEXT.search(message), _PROMPT.search(message)
    return (int(prompt[1]) if prompt else None), (int(context[1]) if context else None)
