"""A caller may be interrupted; the work it waited for is not."""

import asyncio

import pytest

from message_service.uninterrupted import uninterrupted


async def test_result_and_fault_are_those_of_the_work() -> None:
    async def works() -> int:
        return 7

    async def fails() -> int:
        raise LookupError

    assert await uninterrupted(works()) == 7
    with pytest.raises(LookupError):
        await uninterrupted(fails())


@pytest.mark.parametrize("fault", [None, LookupError()])
async def test_work_goes_on_when_its_caller_is_interrupted(fault: Exception | None) -> None:
    may_end, has_ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await may_end.wait()
        has_ended.set()
        if fault is not None:
            raise fault

    caller = asyncio.create_task(uninterrupted(work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    may_end.set()
    async with asyncio.timeout(5):
        await has_ended.wait()
