"""Counts what the attempts at one reply use, while their events go by."""

from dataclasses import dataclass, field

from message_service.clock import now
from message_service.context.tokens import TokenCounter
from message_service.messages.reply import Attempt, Spending, Usage
from message_service.providers.provider import Started, TextDelta, UsageReported
from message_service.usage.prices import PriceTable


@dataclass(slots=True)
class _Attempt:
    provider: str
    model: str
    pieces: list[str] = field(default_factory=list)
    reported: Usage | None = None


class Tally:
    """Of one claim. An attempt counts from when the provider took the prompt: before that nothing is billed."""

    def __init__(self, counter: TokenCounter, prices: PriceTable) -> None:
        self._counter = counter
        self._prices = prices
        self._attempts: list[_Attempt] = []
        self.prompt_tokens = 0
        """Our estimate of what the providers were sent."""

    def see(self, event: object) -> None:
        """Note an event of the stream; those that use nothing are let pass."""
        match event:
            case Started(provider, model):
                self._attempts.append(_Attempt(provider, model))
            case TextDelta(text) if self._attempts:
                self._attempts[-1].pieces.append(text)
            case UsageReported(usage) if self._attempts:
                self._attempts[-1].reported = usage

    @property
    def usage(self) -> Usage | None:
        """Of the last attempt; None when no provider took the prompt."""
        return self._usage_of(self._attempts[-1]) if self._attempts else None

    def spent(self, *, is_last_kept: bool) -> tuple[Spending, ...]:
        """All attempts so far, in order. `is_last_kept`: whether text is stored that the last one ended."""
        at = now()
        spendings = []
        for number, attempt in enumerate(self._attempts, start=1):
            usage = self._usage_of(attempt)
            spendings.append(
                Spending(
                    number=number,
                    provider=attempt.provider,
                    model=attempt.model,
                    usage=usage,
                    cost_nano_usd=self._prices.cost_nano_usd(attempt.provider, attempt.model, usage, at),
                    price_table=self._prices.name,
                    at=at,
                    is_kept=is_last_kept and number == len(self._attempts),
                )
            )
        return tuple(spendings)

    def cost_nano_usd(self, attempt: Attempt) -> int | None:
        """None: the price is not known, or nothing was used."""
        if attempt.model is None or attempt.usage is None:
            return None
        return self._prices.cost_nano_usd(attempt.provider, attempt.model, attempt.usage, attempt.ended_at)

    def _usage_of(self, attempt: _Attempt) -> Usage:
        if attempt.reported is None:
            # It broke off before it could tell, so it is counted once, when somebody asks.
            written = self._counter.count("".join(attempt.pieces)) if attempt.pieces else 0
            attempt.reported = Usage(self.prompt_tokens, written, is_estimated=True)
        return attempt.reported
