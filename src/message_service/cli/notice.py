"""What the supervisor logs: a few lines in the shape that `message_service.logs` gives everything else.

Its library is not loaded here: this process waits for nearly all of its life, and everything waits for it to start.
"""

import json
import sys
from contextlib import suppress
from typing import Literal, Protocol

from message_service.clock import now, rfc3339

ROLE = "dev"


class Notify(Protocol):
    def __call__(self, event: str, *, level: Literal["info", "warning"] = "info", **facts: object) -> None: ...


def open_notices(format_: Literal["auto", "json", "text"]) -> Notify:
    """Lines go to standard error: as text on a terminal, as JSON elsewhere, unless `format_` settles it."""
    is_text = format_ == "text" or (format_ == "auto" and sys.stderr.isatty())

    def notify(event: str, *, level: Literal["info", "warning"] = "info", **facts: object) -> None:
        stamp = rfc3339(now())
        if is_text:
            line = " ".join([stamp, f"[{level}]", event, *(f"{name}={fact}" for name, fact in facts.items())])
        else:
            line = json.dumps({**facts, "event": event, "level": level, "at": stamp, "role": ROLE}, default=str)
        # A terminal that was closed must not keep anything from being stopped in order.
        with suppress(OSError):
            print(line, file=sys.stderr, flush=True)

    return notify
