"""A reply as far as it has come, and what it is when it ends now."""

from dataclasses import dataclass, field, replace

from message_service.context.tokens import TokenCounter
from message_service.journey.tally import cost_nano_usd, spent
from message_service.live.writer import LiveWriter
from message_service.messages.reply import Attempt, FinishReason, Outcome, ReplyError, ReplyStatus, Spending, Usage
from message_service.usage.prices import PriceTable


@dataclass(slots=True)
class Draft:
    writer: LiveWriter
    prices: PriceTable
    provider: str | None = None
    model: str | None = None
    finish_reason: FinishReason | None = None
    attempts: list[Attempt] = field(default_factory=list)
    """At providers, since the claim; each is added when it ends."""
    _writing: int | None = None
    """Which of the attempts the text goes on with, or ended with."""

    def began(self, provider: str, model: str, attempt: int) -> None:
        """A provider took the prompt, and what it writes is the text from now on."""
        self.provider, self.model = provider, model
        self._writing = len(self.attempts)
        self.writer.began(provider, model, attempt)

    def begin_again(self, reason: str) -> None:
        """Another provider writes the text anew."""
        self.writer.begin_again(reason)
        self.finish_reason = None

    @property
    def usage(self) -> Usage | None:
        """Of the attempt that the text ended with; None while it runs, and when no provider took the prompt."""
        if self._writing is None or self._writing == len(self.attempts):
            return None
        return self.attempts[self._writing].usage

    def spent(self, *, is_text_kept: bool = False) -> tuple[Spending, ...]:
        """By the attempts since the claim."""
        return spent(self.attempts, self.prices, kept=self._writing if is_text_kept else None)

    def attempt_log(self) -> tuple[Attempt, ...]:
        """The attempts since the claim, with what they cost."""
        return tuple(replace(attempt, cost_nano_usd=cost_nano_usd(attempt, self.prices)) for attempt in self.attempts)

    def ended(
        self,
        counter: TokenCounter,
        status: ReplyStatus,
        reason: FinishReason | None,
        error: ReplyError | None = None,
    ) -> Outcome:
        """The end that keeps the text there is. Shows watchers the rest of it, and the usage."""
        text = self.writer.text
        text_tokens = counter.count(text) if text else 0
        usage = self.usage
        if usage is not None:
            self.writer.counted(usage)
        return Outcome(
            status=status,
            take=self.writer.take,
            text=text,
            text_tokens=text_tokens,
            provider=self.provider,
            model=self.model,
            finish_reason=reason,
            usage=usage,
            error=error,
            attempt_log=self.attempt_log(),
            spent=self.spent(is_text_kept=bool(text)),
        )

    def failed(self, error: ReplyError) -> Outcome:
        """The end without text."""
        return Outcome(
            status=ReplyStatus.FAILED,
            take=self.writer.take,
            provider=self.provider,
            model=self.model,
            finish_reason=FinishReason.ERROR,
            error=error,
            attempt_log=self.attempt_log(),
            spent=self.spent(),
        )
