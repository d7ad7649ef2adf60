"""A reply as far as it has come, and what it is when it ends now."""

from dataclasses import dataclass, field

from message_service.context.tokens import TokenCounter
from message_service.live.writer import LiveWriter
from message_service.messages.reply import Attempt, FinishReason, Outcome, ReplyError, ReplyStatus, Usage


@dataclass(slots=True)
class Draft:
    writer: LiveWriter
    prompt_tokens: int = 0
    """Our estimate of what the provider was sent."""
    provider: str | None = None
    model: str | None = None
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    attempts: list[Attempt] = field(default_factory=list)
    """At providers, since the claim."""

    def begin_again(self, reason: str) -> None:
        """Another provider writes the text anew."""
        self.writer.begin_again(reason)
        self.usage = None
        self.finish_reason = None

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
        if usage is None and self.provider is not None:
            usage = Usage(self.prompt_tokens, text_tokens, is_estimated=True)
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
            attempt_log=tuple(self.attempts),
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
            attempt_log=tuple(self.attempts),
        )
