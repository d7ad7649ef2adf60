"""Which targets can take a prompt at all, and which would take less of it than was asked. Pure."""

from collections.abc import Sequence

from message_service.errors import ContextTooLong, ProviderRequestInvalid
from message_service.providers.provider import Capabilities, Prompt
from message_service.providers.routing.target import Target


def fitting(
    targets: Sequence[Target], prompt: Prompt, *, most_dollars: float | None = None
) -> tuple[list[Target], list[Target]]:
    """Those that can take `prompt`, in two groups: first those that take all of it, then those that drop some.

    What nobody knows of a target does not speak against it. Raises `ContextTooLong`, with the largest context
    there is, when none is large enough, and `ProviderRequestInvalid` when all cost too much.
    """
    affordable = [target for target in targets if _is_affordable(target, prompt, most_dollars)]
    if not affordable:
        raise ProviderRequestInvalid(
            "Every provider might cost more for this reply than is allowed.", provider=targets[0].name
        )
    large = [target for target in affordable if _has_room(target.capabilities, prompt)]
    if not large:
        raise _too_long(affordable, prompt)
    is_model_known = any(_has_model(target, prompt.model) for target in large)
    groups: tuple[list[Target], list[Target]] = ([], [])
    for target in large:
        is_makeshift = (is_model_known and not _has_model(target, prompt.model)) or _drops_something(
            target.capabilities, prompt
        )
        groups[is_makeshift].append(target)
    return groups


def _is_affordable(target: Target, prompt: Prompt, most_dollars: float | None) -> bool:
    price = target.price_of(prompt)
    return most_dollars is None or price is None or price <= most_dollars


def _has_room(capabilities: Capabilities | None, prompt: Prompt) -> bool:
    room = _context_tokens(capabilities, prompt)
    return room is None or prompt.prompt_tokens + prompt.max_output_tokens <= room


def _context_tokens(capabilities: Capabilities | None, prompt: Prompt) -> int | None:
    """None as well where another model is asked for than the one that was looked at."""
    if capabilities is None or prompt.model not in (None, capabilities.model):
        return None
    return capabilities.context_tokens


def _has_model(target: Target, model: str | None) -> bool:
    return model is not None and target.health is not None and model in target.health.models


def _drops_something(capabilities: Capabilities | None, prompt: Prompt) -> bool:
    if capabilities is None:
        return False
    return (
        not capabilities.is_streamed
        or (prompt.temperature is not None and not capabilities.takes_temperature)
        or (bool(prompt.stop) and not capabilities.takes_stop)
    )


def _too_long(targets: Sequence[Target], prompt: Prompt) -> ContextTooLong:
    largest = max(targets, key=lambda target: _context_tokens(target.capabilities, prompt) or 0)
    error = ContextTooLong(provider=largest.name)
    error.context_tokens = _context_tokens(largest.capabilities, prompt)
    error.prompt_tokens = prompt.prompt_tokens
    return error
