"""One run: a stack under load and faults, healed, drained and read to the end. What happened is in its folder."""

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from subprocess import TimeoutExpired
from subprocess import run as run_command

import orjson

from message_service.embedded.child import Child, start_child, stop_children
from tests.chaos.caller import OPERATION_SECONDS
from tests.chaos.fault_kind import FaultKind
from tests.chaos.faults import fault_kinds
from tests.chaos.final import await_drained, open_final, read_everything
from tests.chaos.history import HistoryWriter, RunFacts
from tests.chaos.load import Load
from tests.chaos.nemesis import Nemesis, schedule
from tests.chaos.stack import Size, Stack, run_stack

_WARM_SECONDS = 3.0
_SECONDS_TO_END = 120.0
"""What clients may take to learn what is still unknown once all is healed."""
_SECONDS_TO_DRAIN = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    seconds: float
    seed: int
    posts_per_second: float
    density: float = 1.0
    """How much more often faults come than usual."""
    only: tuple[str, ...] = ()
    """Names of kinds; none means all."""
    size: Size = field(default_factory=Size)

    @property
    def kinds(self) -> list[FaultKind]:
        """Raises `ValueError` for a name that is no kind's."""
        kinds = fault_kinds(mongod_members=self.size.mongod_members)
        unknown = set(self.only) - {kind.name for kind in kinds}
        if unknown:
            raise ValueError(f"There is no fault {', '.join(sorted(unknown))}.")
        return [kind for kind in kinds if not self.only or kind.name in self.only]


async def make_history(plan: Plan, folder: Path, tell: Callable[[str], None]) -> None:
    """The history is in `folder / "history"` when this returns. Only for the main thread."""
    with HistoryWriter(folder / "history", "run") as history:
        facts = RunFacts(
            seed=plan.seed,
            commit=_commit(),
            settings=plan.size.settings,
            began=time.monotonic(),
            operation_seconds=OPERATION_SECONDS,
        )
        history.write(facts)
        tell("starting")
        async with run_stack(folder, plan.size, seed=plan.seed) as stack:
            facts = replace(facts, healed=await _trouble(plan, stack, folder, history, tell))
            history.write(facts)
            async with open_final(stack.mongodb_url, stack.database_name) as database:
                facts = replace(facts, drained=await await_drained(database, seconds=_SECONDS_TO_DRAIN))
                history.write(facts)
                tell("reading everything")
                await read_everything(stack.api_urls, database, history)


async def _trouble(
    plan: Plan, stack: Stack, folder: Path, history: HistoryWriter, tell: Callable[[str], None]
) -> float:
    """When all was healed: load for as long as planned, faults meanwhile, and then until clients know what became."""
    clients = _start_clients(plan, stack, folder)
    try:
        await asyncio.sleep(_WARM_SECONDS)
        nemesis = Nemesis(stack, history)
        making = asyncio.create_task(
            nemesis.run(schedule(plan.kinds, plan.seed, density=plan.density), seconds=plan.seconds - _WARM_SECONDS)
        )
        while not making.done():
            await asyncio.wait([making], timeout=15)
            tell(f"{nemesis.made} faults made and healed")
            if clients.poll() not in (None, 0):
                making.cancel()
                raise RuntimeError(f"The clients ended with {clients.returncode}; see {folder / 'clients.log'}")
        await making
        stack.heal()
        healed = time.monotonic()
        await stack.await_ready()
        tell("healed; waiting for what is unknown")
        with suppress(TimeoutExpired):
            await asyncio.to_thread(clients.wait, _SECONDS_TO_END)
        return healed
    finally:
        stop_children([clients], patience_seconds=1)


def _start_clients(plan: Plan, stack: Stack, folder: Path) -> Child:
    load = Load(
        urls=tuple(stack.api_urls),
        folder=str(folder / "history"),
        name=f"c{plan.seed}",
        seed=plan.seed,
        posts_per_second=plan.posts_per_second,
        seconds=plan.seconds,
    )
    with (folder / "clients.log").open("wb") as output:
        return start_child(
            [sys.executable, "-m", "tests.chaos.load"],
            environment=stack.bare_environment,
            output=output,
            standard_input=orjson.dumps(asdict(load)),
        )


def _commit() -> str:
    found = run_command(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"
