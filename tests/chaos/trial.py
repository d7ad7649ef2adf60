"""One small run judged by the checker: a user's history, written while it happens and read at the end."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from tests.chaos.checker import Verdict, check
from tests.chaos.history import HistoryWriter, RunFacts, read_history
from tests.chaos.recording import RecordedClient
from tests.fixtures.service import Service

_QUIET_SECONDS = 20.0
_POLL_SECONDS = 0.05


@dataclass(slots=True)
class Trial:
    """`run` starts when it is made. `verdict` waits until nothing goes on any more."""

    service: Service
    folder: Path
    writer: HistoryWriter
    run: RunFacts
    users: list[RecordedClient]

    @classmethod
    def open(cls, service: Service, folder: Path, stack: ExitStack, **settings: str) -> Self:
        writer = stack.enter_context(HistoryWriter(folder, "client"))
        run = RunFacts(seed=0, commit="", settings=settings, began=time.monotonic())
        writer.write(run)
        return cls(service, folder, writer, run, [])

    def user(self, name: str | None = None, *, api: int = 0) -> RecordedClient:
        user = RecordedClient(self.service.client(name, api=api), self.writer)
        self.users.append(user)
        return user

    async def verdict(self, *, seconds: float = _QUIET_SECONDS, api: int = 0) -> Verdict:
        """What the checker says of everything so far, once all replies have ended or `seconds` have passed."""
        healed = time.monotonic()
        is_quiet = await self._is_quiet(seconds)
        drained = time.monotonic() if is_quiet else None
        self.writer.write(replace(self.run, healed=healed, drained=drained))
        url = self.service.apis[api].url
        with self.service.mongodb() as database:
            for user in self.users:
                await user.at(url).final_read(database)
        return check(read_history(self.folder))

    async def _is_quiet(self, seconds: float) -> bool:
        mine = {"user_id": {"$in": [user.user for user in self.users]}, "status": {"$in": ["queued", "running"]}}
        give_up_at = time.monotonic() + seconds
        with self.service.mongodb() as database:
            while database["replies"].count_documents(mine):
                if time.monotonic() > give_up_at:
                    return False
                await asyncio.sleep(_POLL_SECONDS)
        return True


def described(verdict: Verdict) -> Iterable[str]:
    return [f"{found.invariant}: {found.what} {found.operations}" for found in verdict.violations]
