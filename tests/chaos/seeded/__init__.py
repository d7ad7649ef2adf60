"""Mistakes planted on purpose, one a file: the checker must find each, or it finds nothing.

`plant` changes the service's classes before the ordinary command runs, in that process alone.
"""

from collections.abc import Sequence
from typing import Any


def entry_of(bug: str) -> Sequence[str]:
    """What Python is told to run for a command with the bug in it."""
    return ("-m", "tests.chaos.seeded", bug)


def plant_in(owner: object, **parts: Any) -> None:
    """Put `parts` in the place of what a class or module has under their names. Fails when it has no such thing."""
    for name, part in parts.items():
        assert hasattr(owner, name), f"{owner} has no {name} any more: the bug needs another place"
        setattr(owner, name, part)
