"""Ask the API over HTTP whether it is ready, and which of its pages exist."""

import http.client
import time
from collections.abc import Callable, Iterable

from message_service.cli.address import reachable_host
from message_service.errors import StartRefused

_REQUEST_SECONDS = 2.0
_KEPT_BODY_CHARACTERS = 500


def await_ready(
    host: str, port: int, *, seconds: float, still_alive: Callable[[], None], pause: Callable[[float], None]
) -> None:
    """Return once GET /health/ready answers 200. Raises StartRefused after `seconds`, and what `still_alive` raises."""
    give_up_at = time.monotonic() + seconds
    last_answer = "nobody listens yet"
    while time.monotonic() < give_up_at:
        still_alive()
        answer = get(host, port, "/health/ready")
        if answer is not None:
            status, body = answer
            if status == http.client.OK:
                return
            last_answer = f"{status} {body[:_KEPT_BODY_CHARACTERS]}".strip()
        pause(0.03)
    raise StartRefused(
        f"The API was not ready within {seconds:.0f} s; /health/ready last answered: {last_answer}. "
        "What the processes wrote is above; `message-service doctor` looks for the cause."
    )


def existing_pages(host: str, port: int, paths: Iterable[str]) -> list[str]:
    """Those of `paths` that answer with anything but an error."""
    found = []
    for path in paths:
        answer = get(host, port, path)
        if answer is not None and answer[0] < http.client.BAD_REQUEST:
            found.append(path)
    return found


def get(host: str, port: int, path: str) -> tuple[int, str] | None:
    """Status and body, or None when there was no answer."""
    connection = http.client.HTTPConnection(reachable_host(host), port, timeout=_REQUEST_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
