"""A reply as far as it has come, and what it is when it ends now."""

from dataclasses import dataclass

from message_service.context.tokens import TokenCounter
from message_service.journey.tally import Tally
from message_service.live.writer import LiveWriter
from message_service.messages.reply import FinishReason, Outcome, ReplyError, ReplyStatus


@dataclass(slots=True)
class Draft:
    writer: LiveWriter
    tally: Tally
    provider: str | None = None
    model: str | None = None
    finish_reason: FinishReason | None = None

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
            spent=self.tally.spent(is_last_kept=False),
        )
