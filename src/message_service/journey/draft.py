"""A reply as far as it has come, and what it is when it ends now."""

from dataclasses import dataclass, field, replace

from message_service.context.tokens import TokenCounter
from message_service.journey.tally import Tally
from message_service.live.writer import LiveWriter
from message_service.messages.reply import Attempt, FinishReason, Outcome, ReplyError, ReplyStatus


@dataclass(slots=True)
class Draft:
    writer: LiveWriter
    tally: Tally
    provider: str | None = None
    model: str | None = None
    finish_reason: FinishReason | None = None
    attempts: list[Attempt] = field(default_factory=list)
    """At providers, since the claim."""

    def begin_again(self, reason: str) -> None:
        """Another provider writes the text anew."""
        self.writer.begin_again(reason)
        self.finish_reason = None

    def attempt_log(self) -> tuple[Attempt, ...]:
        """The attempts since the claim, with what they cost."""
        return tuple(replace(attempt, cost_nano_usd=self.tally.cost_nano_usd(attempt)) for attempt in self.attempts)

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
        usage = self.tally.usage
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
            spent=self.tally.spent(is_last_kept=bool(text)),
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
            spent=self.tally.spent(is_last_kept=False),
        )
