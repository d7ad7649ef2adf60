"""Chooses the newest history that fits the context, the instructions first. Pure."""

from dataclasses import dataclass, field

from message_service.messages.message import Message

TOKENS_PER_TURN = 4
"""What chat templates add around each message, about."""
TOKENS_TO_PRIME_A_REPLY = 3

_OMISSION = "\n[...]\n"


@dataclass(frozen=True, slots=True)
class ContextSize:
    """Tokens of a model's context, and how many of them stay free for its reply."""

    context_tokens: int
    output_reserve_tokens: int


@dataclass(slots=True)
class Window:
    """Filled from the newest message backwards until one does not fit."""

    budget_tokens: int
    used_tokens: int = TOKENS_TO_PRIME_A_REPLY
    newest_first: list[Message] = field(default_factory=list)
    is_truncated: bool = False

    def pin(self, tokens: int) -> None:
        """Make room for text that is always there, such as the instructions."""
        self.used_tokens += tokens + TOKENS_PER_TURN

    @property
    def free_tokens(self) -> int:
        return self.budget_tokens - self.used_tokens

    def is_full_for(self, message: Message) -> bool:
        """Take the message if it fits. True, and it is left out with all older ones, if it does not.

        The newest one is always taken: it is what the reply answers.
        """
        tokens = message.tokens + TOKENS_PER_TURN
        if self.newest_first and tokens > self.free_tokens:
            self.is_truncated = True
            return True
        self.newest_first.append(message)
        self.used_tokens += tokens
        return False

    def turns(self) -> list[Message]:
        """What was taken, oldest first. A history cut short does not begin with an answer to what was cut off."""
        taken = list(reversed(self.newest_first))
        if self.is_truncated:
            while len(taken) > 1 and taken[0].reply_to is not None:
                del taken[0]
        return taken


def cut_to_fit(text: str, *, tokens: int, budget_tokens: int) -> str:
    """`text` without its middle, if it is too long by itself: about `budget_tokens` of its `tokens` remain."""
    if tokens <= budget_tokens:
        return text
    # Tokens are not spread evenly over characters, hence the tenth to spare.
    kept = max(0, int(len(text) * budget_tokens / tokens * 0.9) - len(_OMISSION))
    head = kept // 2
    return text[:head] + _OMISSION + text[len(text) - (kept - head) :]
