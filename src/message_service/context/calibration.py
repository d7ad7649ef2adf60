"""How our token counts compare with a provider's, and what is left to send when it says a prompt is too long. Pure."""

from dataclasses import dataclass

from message_service.context.window import ContextSize

_NEWEST_SHARE = 0.2
_LEAST_TOKENS = 200
"""In a shorter prompt the template around the messages outweighs them."""
_SMALLEST_RATIO, _LARGEST_RATIO = 1.0, 4.0
"""Below 1 nothing is gained but the risk of an overflow; above 4 somebody reports something else."""
_MOST_MODELS = 200
_SPARE_SHARE = 0.05
_SHARE_WITHOUT_NUMBERS = 0.5


class TokenRatios:
    """Tokens a model counts for each of ours, as an exponential moving average of what was reported. In a process."""

    def __init__(self) -> None:
        self._ratios: dict[str, float] = {}
        self._latest = _SMALLEST_RATIO

    def of(self, model: str | None) -> float:
        """For a model nobody has heard of: 1. For None, which is whatever answers: that of the last that did."""
        return self._latest if model is None else self._ratios.get(model, _SMALLEST_RATIO)

    def learn(self, model: str, *, counted_tokens: float, reported_tokens: int) -> None:
        """`counted_tokens` are ours, `reported_tokens` the provider's, of one prompt."""
        if counted_tokens < _LEAST_TOKENS or reported_tokens <= 0:
            return
        newest = _bounded(reported_tokens / counted_tokens)
        was = self._ratios.pop(model, None)
        self._latest = newest if was is None else was + _NEWEST_SHARE * (newest - was)
        self._ratios[model] = self._latest
        if len(self._ratios) > _MOST_MODELS:
            del self._ratios[next(iter(self._ratios))]


@dataclass(frozen=True, slots=True)
class Trim:
    """What a prompt has to fit: a context, in tokens of which one of ours makes `ratio`."""

    size: ContextSize
    ratio: float


def trimmed(
    trim: Trim, *, counted_tokens: float, told_prompt_tokens: int | None, told_context_tokens: int | None
) -> Trim:
    """The trim for a second try, from what the provider told; half of the context where it told nothing."""
    context_tokens = told_context_tokens or int(trim.size.context_tokens * _SHARE_WITHOUT_NUMBERS)
    context_tokens = min(context_tokens, trim.size.context_tokens)
    ratio = trim.ratio
    if told_prompt_tokens and counted_tokens > 0:
        ratio = max(ratio, _bounded(told_prompt_tokens / counted_tokens))
    return Trim(ContextSize(int(context_tokens * (1 - _SPARE_SHARE)), trim.size.output_reserve_tokens), ratio)


def _bounded(ratio: float) -> float:
    return min(_LARGEST_RATIO, max(_SMALLEST_RATIO, ratio))
