"""A gate on a clock that tests turn, with those who ask to be let through."""

import asyncio

from message_service.providers.routing.admission import Gate, Pass
from message_service.providers.routing.target import Target


class TurnedLoop(asyncio.SelectorEventLoop):
    turned_seconds = 0.0

    def time(self) -> float:
        return super().time() + self.turned_seconds


class Door:
    """A gate, and those who asked to be let through: by name, in the order in which they were."""

    def __init__(self) -> None:
        self.gate = Gate(None)
        self.let_in: list[str] = []
        self.passes: dict[str, Pass | None] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    def asks(self, name: str, *wanted: Target, kind: int = 0, wait_seconds: float = 600) -> None:
        """Runs when others get to run."""
        self._asking[name] = asyncio.create_task(self._ask(name, wanted, kind, wait_seconds))

    async def _ask(self, name: str, wanted: tuple[Target, ...], kind: int, wait_seconds: float) -> None:
        rank = (kind, name.strip("'"))
        self.passes[name] = await self.gate.admit(wanted, rank=rank, wait_seconds=wait_seconds)
        self.let_in.append(name)

    async def leaves(self, name: str) -> None:
        admitted = self.passes[name]
        assert admitted is not None
        await admitted.leave()

    def gives_up(self, name: str) -> None:
        self._asking[name].cancel()

    async def others_run(self, *, after_seconds: float = 0) -> None:
        """Until nobody has anything to do, on a clock that was turned."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, TurnedLoop)
        loop.turned_seconds += after_seconds
        for _ in range(10):
            await asyncio.sleep(0)
