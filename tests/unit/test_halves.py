"""Batches that are tried again in halves."""

from collections.abc import Sequence

from message_service.errors import StoreUnavailable
from message_service.store.halves import in_halves
from message_service.store.transaction import TransactionConflict


async def test_nothing_more_is_tried_when_the_store_is_gone() -> None:
    tried: list[int] = []

    async def trip(batch: Sequence[int]) -> Sequence[int | Exception]:
        if len(batch) > 1:
            return await in_halves(batch, trip)
        tried.append(batch[0])
        faults = {2: TransactionConflict(), 4: StoreUnavailable()}
        return [faults.get(batch[0], batch[0])]

    answers = await trip(range(8))
    assert tried == [0, 1, 2, 3, 4]
    assert answers[:2] == [0, 1]
    assert [type(answer) for answer in answers[2:]] == [TransactionConflict, int, *[StoreUnavailable] * 4]
