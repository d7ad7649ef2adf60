"""A worker that stands by does nothing until it is told to, and nothing at all when nobody is left to tell it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("order", ["", "wrk_half"])
def test_standby_ends_when_whoever_would_tell_it_is_gone(order: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "message_service", "work", "--standby"],
        input=order,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
