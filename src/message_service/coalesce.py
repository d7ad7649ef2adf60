"""Group commit for anything: calls that arrive together share one trip, and alone they wait for nobody."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True)
class _Call(Generic[Item, Result]):
    item: Item
    lane: Hashable
    solo: Hashable
    came_at: float
    answer: asyncio.Future[Result]


class Coalescer(Generic[Item, Result]):
    """Runs `trip` on the items that have gathered, at most `max_in_flight` trips at a time.

    A trip answers each of its items, in their order, with a result or an exception. Calls of one
    `lane_of` may share a trip but are never in two trips at once; calls of one `solo_of` are never even
    in the same trip. None means no such bond. A caller that goes away does not stop its trip, but one that
    goes away before the departure is not taken along, and one that has waited longer than `longest_wait_seconds` is
    sent home with the error `too_late` makes: work that nobody waits for any more would only make others late.

    A trip waits up to `gather_seconds` for its share of the crowd that was there at the last departure, so
    that a crowd neither falls apart into small trips nor piles up in one. Whoever comes alone does not wait.
    """

    def __init__(
        self,
        trip: Callable[[Sequence[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        max_items: int,
        max_in_flight: int = 1,
        lane_of: Callable[[Item], Hashable] = lambda _: None,
        solo_of: Callable[[Item], Hashable] = lambda _: None,
        gather_seconds: float = 0,
        longest_wait_seconds: float = math.inf,
        too_late: Callable[[], Exception] = TimeoutError,
    ) -> None:
        self._trip = trip
        self._max_items = max_items
        self._max_in_flight = max_in_flight
        self._lane_of = lane_of
        self._solo_of = solo_of
        self._gather_seconds = gather_seconds
        self._longest_wait_seconds = longest_wait_seconds
        self._too_late = too_late
        self._share = 1
        self._travelling = 0
        self._waiting: list[_Call[Item, Result]] = []
        self._busy: set[Hashable] = set()
        self._trips: set[asyncio.Task[None]] = set()
        self._departure: asyncio.Handle | None = None
        self._is_gathering = False

    async def call(self, item: Item) -> Result:
        """The result for `item`. Raises what the trip answered for it, or what ended the trip."""
        return await self.submit(item)

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """As `call`, for whoever does not want to wait."""
        loop = asyncio.get_running_loop()
        call = _Call(item, self._lane_of(item), self._solo_of(item), loop.time(), loop.create_future())
        self._waiting.append(call)
        if len(self._trips) < self._max_in_flight:
            self._depart_soon()
        return call.answer

    async def drain(self) -> None:
        """Wait until everything called so far is answered."""
        while self._waiting or self._trips:
            await asyncio.gather(*self._trips, *(call.answer for call in self._waiting), return_exceptions=True)

    def _depart_soon(self) -> None:
        loop = asyncio.get_running_loop()
        is_complete = len(self._waiting) >= self._share
        if self._departure is not None:
            if not (is_complete and self._is_gathering):
                return
            self._departure.cancel()
        self._is_gathering = not is_complete
        if is_complete:
            # One turn of the loop later, so that calls of the same turn travel together.
            self._departure = loop.call_soon(self._depart)
        else:
            self._departure = loop.call_later(self._gather_seconds, self._depart)

    def _depart(self) -> None:
        self._departure = None
        if len(self._trips) >= self._max_in_flight:
            return
        calls = self._board()
        if not calls:
            return
        self._travelling += len(calls)
        self._share = -(-(self._travelling + len(self._waiting)) // self._max_in_flight)
        task = asyncio.create_task(self._travel(calls))
        self._trips.add(task)
        task.add_done_callback(self._arrive)
        if self._waiting and len(self._trips) < self._max_in_flight:
            self._depart_soon()

    def _arrive(self, task: asyncio.Task[None]) -> None:
        self._trips.discard(task)
        if self._waiting:
            self._depart_soon()

    def _board(self) -> list[_Call[Item, Result]]:
        """Take what may travel now; what shares a lane with a trip under way keeps its place in the line."""
        boarded: list[_Call[Item, Result]] = []
        left_behind: list[_Call[Item, Result]] = []
        held_lanes: set[Hashable] = set()
        solos: set[Hashable] = set()
        oldest = asyncio.get_running_loop().time() - self._longest_wait_seconds
        for call in self._waiting:
            if call.answer.cancelled():
                continue
            if call.came_at < oldest:
                call.answer.set_exception(self._too_late())
                continue
            may_board = (
                len(boarded) < self._max_items
                and call.lane not in self._busy
                and call.lane not in held_lanes
                and call.solo not in self._busy
                and call.solo not in solos
            )
            if may_board:
                boarded.append(call)
                if call.solo is not None:
                    solos.add(call.solo)
            else:
                left_behind.append(call)
                if call.lane is not None:
                    held_lanes.add(call.lane)
        self._waiting = left_behind
        return boarded

    async def _travel(self, calls: list[_Call[Item, Result]]) -> None:
        taken = {bond for call in calls for bond in (call.lane, call.solo) if bond is not None}
        self._busy |= taken
        try:
            answers: Sequence[Result | Exception] = await self._trip([call.item for call in calls])
            if len(answers) != len(calls):
                raise RuntimeError(f"A trip of {len(calls)} came back with {len(answers)} answers.")
        except Exception as fault:  # every caller of this trip has to hear of it
            answers = [fault] * len(calls)
        finally:
            self._busy -= taken
            self._travelling -= len(calls)
        for call, answer in zip(calls, answers, strict=True):
            if call.answer.done():
                continue
            if isinstance(answer, Exception):
                call.answer.set_exception(answer)
            else:
                call.answer.set_result(answer)
