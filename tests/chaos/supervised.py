"""A place in the stack that is always filled: whatever process ends there is started again by the service's rules."""

import signal
from collections.abc import Callable
from typing import Literal

from message_service.cli.supervisor import Supervised
from message_service.embedded.child import Child


class Place:
    """One process and those that follow it. `launch` starts the next; it must not wait for it to become ready."""

    def __init__(self, name: str, launch: Callable[[], Child]) -> None:
        self.name = name
        self.ends = 0
        self._supervised = Supervised(name, launch(), launch, self._note)

    @property
    def child(self) -> Child:
        return self._supervised.child

    @property
    def is_running(self) -> bool:
        return self.child.poll() is None

    def tend(self) -> None:
        self._supervised.tend()

    def send(self, number: signal.Signals) -> None:
        """Nothing happens where nobody runs."""
        if self.is_running:
            self.child.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and it is gone when this returns."""
        self.child.kill()
        self.child.wait()

    def _note(self, event: str, *, level: Literal["info", "warning"] = "info", **facts: object) -> None:
        self.ends += 1
