"""A process that cannot be started again is tried again, and takes nobody with it."""

import errno
import subprocess
from typing import Literal

import pytest

from message_service.cli.supervisor import Supervised
from message_service.embedded.child import Child
from message_service.errors import StartRefused


def ended() -> Child:
    child = subprocess.Popen(["/bin/true"])
    child.wait()
    return child


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        StartRefused("Its port is taken."),
    ],
    ids=["disk full", "no process left", "no memory left", "refused"],
)
def test_process_is_tried_again_when_it_cannot_be_started(fault: Exception) -> None:
    notices: list[dict[str, object]] = []
    starts: list[Child] = []

    def start() -> Child:
        if len(notices) == 1:
            raise fault
        starts.append(ended())
        return starts[-1]

    def notify(event: str, *, level: Literal["info", "warning"] = "info", **facts: object) -> None:
        notices.append({"event": event, "level": level, **facts})

    supervised = Supervised("api", ended(), start, notify)
    assert supervised.tend() > 0
    assert [notice.get("exit_code") for notice in notices] == [0, None]
    assert str(notices[1]["reason"]) in (str(fault), getattr(fault, "detail", None))
    # Tended until its pause is over.
    while not starts:
        supervised.tend()
    assert supervised.child is starts[0]
