"""What a reply may use, before anybody knows: set aside of its user's budget when it is asked for."""

from dataclasses import dataclass

from message_service.clock import now
from message_service.context.tokens import TokenCounter
from message_service.context.window import TOKENS_PER_TURN, TOKENS_TO_PRIME_A_REPLY, ContextSize
from message_service.ids import ConversationKey
from message_service.messages.budget import Amount, Demand, Limits
from message_service.messages.reply import Asked
from message_service.store.messages import Messages
from message_service.usage.prices import PriceTable

_MESSAGES_LOOKED_AT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimator:
    """What estimating needs. There is none where budgets are off."""

    limits: Limits
    """Of users who have none of their own."""
    prices: PriceTable
    models: dict[str, str | None]
    """The model of each enabled provider, where it is known before it is asked."""
    context_size: ContextSize
    counter: TokenCounter
    messages: Messages


async def estimate(key: ConversationKey, new_tokens: int, asked: Asked, *, estimator: Estimator) -> Demand:
    """The last answer's prompt and text, what was posted since, `new_tokens`, and the longest text there may be.

    Its cost is that of the dearest provider that may be asked; a price that is not known counts nothing. What other
    attempts use besides, after a failover or a retry, is not foreseen: it counts when it is booked.
    """
    size = estimator.context_size
    output_tokens = asked.max_output_tokens or size.output_reserve_tokens
    instructions = await estimator.counter.count_beside(asked.instructions) if asked.instructions else 0
    prompt_tokens = TOKENS_TO_PRIME_A_REPLY + new_tokens + instructions + 2 * TOKENS_PER_TURN
    for message in await estimator.messages.newest(key, limit=_MESSAGES_LOOKED_AT):
        if message.usage is not None:
            prompt_tokens += message.usage.input_tokens + message.usage.output_tokens
            break
        prompt_tokens += message.tokens + TOKENS_PER_TURN
    prompt_tokens = max(0, min(prompt_tokens, size.context_tokens - output_tokens))
    cost = estimator.prices.dearest_nano_usd(
        [
            (provider, asked.model or model)
            for provider, model in estimator.models.items()
            if asked.provider in (None, provider)
        ],
        prompt_tokens,
        output_tokens,
        now(),
    )
    return Demand(Amount(prompt_tokens + output_tokens, cost), estimator.limits)
