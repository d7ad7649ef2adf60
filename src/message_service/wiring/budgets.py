"""What users may use, and what a reply may need of it."""

from decimal import Decimal

from message_service.context.tokens import TokenCounter
from message_service.context.window import ContextSize
from message_service.journey.estimate import Estimator
from message_service.messages.budget import Limits
from message_service.settings import Settings
from message_service.store.messages import Messages
from message_service.usage.prices import load_prices


def limits_of(settings: Settings) -> Limits:
    """Of users who have none of their own."""
    return Limits(
        tokens_per_day=settings.budget_tokens_per_day,
        tokens_per_month=settings.budget_tokens_per_month,
        cost_nano_usd_per_day=_nano(settings.budget_usd_per_day),
        cost_nano_usd_per_month=_nano(settings.budget_usd_per_month),
    )


def _nano(dollars: Decimal | None) -> int | None:
    return None if dollars is None else int(dollars * 1_000_000_000)


def estimator_of(settings: Settings, counter: TokenCounter, messages: Messages) -> Estimator:
    return Estimator(
        limits=limits_of(settings),
        prices=load_prices(),
        models={name: getattr(settings, f"{name}_model", None) for name in settings.enabled_providers},
        context_size=ContextSize(settings.context_tokens, settings.output_reserve_tokens),
        counter=counter,
        messages=messages,
    )
