"""A batch that met a conflict is tried again in halves, down to its members."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from message_service.errors import StoreUnavailable
from message_service.store.transaction import TransactionConflict

Item = TypeVar("Item")
Result = TypeVar("Result")


async def in_halves(
    batch: Sequence[Item], trip: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]]
) -> Sequence[Result | Exception]:
    """The answers of both halves, each its own: what one has stored stays true when the store is gone for the other."""
    middle = len(batch) // 2
    answers = await _answers(batch[:middle], trip)
    if _is_gone(answers[-1]):
        # The other half would only wait for the same.
        return [*answers, *[answers[-1]] * (len(batch) - middle)]
    return [*answers, *await _answers(batch[middle:], trip)]


async def _answers(
    half: Sequence[Item], trip: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]]
) -> Sequence[Result | Exception]:
    try:
        return await trip(half)
    except StoreUnavailable as fault:
        return [fault] * len(half)


def _is_gone(answer: object) -> bool:
    return isinstance(answer, StoreUnavailable) and not isinstance(answer, TransactionConflict)
