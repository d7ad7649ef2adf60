"""A task ends when it is told to, also when it did not hear it the first time."""

import asyncio

from message_service.stopping import stop_tasks


async def test_task_ends_when_its_first_cancellations_were_swallowed() -> None:
    swallowed = 0

    async def hard_of_hearing() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if swallowed == 2:
                    raise
                swallowed += 1

    task = asyncio.create_task(hard_of_hearing())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await stop_tasks([task])
    assert (task.cancelled(), swallowed) == (True, 2)


async def test_fault_of_a_task_that_ended_before_stops_nothing() -> None:
    async def fails() -> None:
        raise LookupError

    failed = asyncio.create_task(fails())
    running = asyncio.create_task(asyncio.sleep(60))
    await asyncio.wait([failed])
    await stop_tasks([failed, running])
    assert running.cancelled()
    assert isinstance(failed.exception(), LookupError)


async def test_nothing_is_left_behind_when_whoever_stops_tasks_is_cancelled_meanwhile() -> None:
    is_told = asyncio.Event()

    async def slow_to_end() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            is_told.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(slow_to_end())
    await asyncio.sleep(0)
    stopping = asyncio.create_task(stop_tasks([task]))
    await is_told.wait()
    stopping.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait([stopping])
    assert (stopping.cancelled(), task.done()) == (True, True)
