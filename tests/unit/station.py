"""Trips of a coalescer that end when the test says so."""

import asyncio
from collections.abc import Sequence
from typing import Any


class Station:
    """Trips that end when the test says so."""

    def __init__(self) -> None:
        self.trips: list[list[Any]] = []
        self.together: list[list[Any]] = []
        """For each departure: all items under way then, its own included."""
        self._ends: list[asyncio.Future[None]] = []
        self._departed = asyncio.Event()
        self._under_way: list[list[Any]] = []
        self.most_under_way = 0

    async def travel(self, items: Sequence[Any]) -> Sequence[Any]:
        self.trips.append(list(items))
        self._ends.append(asyncio.get_running_loop().create_future())
        self._under_way.append(list(items))
        self.most_under_way = max(self.most_under_way, len(self._under_way))
        self.together.append([item for trip in self._under_way for item in trip])
        self._departed.set()
        try:
            await self._ends[len(self.trips) - 1]
        finally:
            self._under_way.remove(list(items))
        return [f"did {item}" for item in items]

    async def departed(self, trips: int) -> None:
        async with asyncio.timeout(5):
            while len(self.trips) < trips:
                self._departed.clear()
                await self._departed.wait()

    def end(self, trip: int, fault: Exception | None = None) -> None:
        if fault is None:
            self._ends[trip].set_result(None)
        else:
            self._ends[trip].set_exception(fault)

    async def end_all(self, calls: Sequence["asyncio.Future[Any]"]) -> list[Any]:
        """End each trip as soon as it departs, until every call has its answer."""
        answers = asyncio.gather(*calls, return_exceptions=True)
        trip = 0
        while not answers.done():
            if trip < len(self.trips):
                if not self._ends[trip].done():
                    self.end(trip)
                trip += 1
            await asyncio.sleep(0)
        return answers.result()
