"""A command starts without the libraries of others."""

import subprocess
import sys

import pytest

_LARGE = {"aiohttp", "asyncio", "beanie", "fastapi", "prometheus_client", "pydantic", "pymongo", "redis"}
_PROGRAM = """
import sys
from message_service.cli.main import app
print(*sys.modules)
if sys.argv[1:]:
    try:
        app(sys.argv[1:])
    finally:
        print(*sys.modules)
"""


def _loaded(*arguments: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return set(run.stdout.splitlines()[-1].split())


def test_no_large_library_is_loaded_when_nothing_was_asked_yet() -> None:
    assert not _loaded() & _LARGE


@pytest.mark.parametrize("command", ["settings"])
def test_no_driver_is_loaded_when_a_command_needs_none(command: str) -> None:
    assert not _loaded(command) & (_LARGE - {"pydantic", "asyncio"})
