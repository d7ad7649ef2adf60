"""What a model is asked for one reply: the instructions, and the newest messages on the path that fit."""

from hashlib import sha256
from math import ceil

from message_service.context.calibration import Trim
from message_service.context.tokens import TokenCounter
from message_service.context.window import ContextSize, Window, cut_to_fit
from message_service.errors import ContextTooLong, MessageNotFound
from message_service.messages.message import Message
from message_service.messages.reply import Reply
from message_service.providers.provider import Prompt, Turn
from message_service.store.path import PathReader
from message_service.uninterrupted import uninterrupted


async def compose(reply: Reply, *, path: PathReader, counter: TokenCounter, trim: Trim) -> Prompt:
    """The prompt for `reply`, within `trim`.

    Raises `ContextTooLong` when the instructions leave no room for the message, `MessageNotFound` when it
    was hidden meanwhile.
    """
    asked = reply.asked
    size = trim.size
    max_output_tokens = _room_for_output(asked.max_output_tokens, size)
    window = Window(int((size.context_tokens - max_output_tokens) / trim.ratio))
    if asked.instructions:
        window.pin(await counter.count_beside(asked.instructions))
    room_tokens = window.free_tokens
    if room_tokens <= 0:
        raise ContextTooLong(
            "The instructions leave no room for the message.", provider=asked.provider or "message-service"
        )
    # A reply is cancelled by interrupting its writing, in the middle of anything.
    await uninterrupted(path.newest_first(reply.conversation_key, reply.message_id, window.is_full_for))
    messages = window.turns()
    if not messages or messages[-1].id != reply.message_id:
        raise MessageNotFound("The message to answer was hidden before it was answered.")
    return Prompt(
        instructions=asked.instructions,
        turns=tuple(_turn(message, room_tokens) for message in messages),
        prompt_tokens=ceil(min(window.used_tokens, window.budget_tokens) * trim.ratio),
        max_output_tokens=max_output_tokens,
        model=asked.model,
        temperature=asked.temperature,
        stop=asked.stop,
        cache_key=sha256(reply.conversation_key.encode()).hexdigest()[:32],
        attempt_id=f"{reply.id}.{reply.epoch}",
        attempt=reply.epoch,
    )


def _turn(message: Message, room_tokens: int) -> Turn:
    return Turn(message.role, cut_to_fit(message.content, tokens=message.tokens, budget_tokens=room_tokens))


def _room_for_output(asked_tokens: int | None, size: ContextSize) -> int:
    """What was asked for, but a quarter of the context stays the prompt's; the usual reserve takes half at most."""
    if asked_tokens is None:
        return min(size.output_reserve_tokens, size.context_tokens // 2)
    return min(asked_tokens, size.context_tokens - size.context_tokens // 4)
