"""Where the peers live: each in an environment of its own, which `make bench` makes."""

import sys
from pathlib import Path


def peer_python(name: str) -> str:
    """The interpreter of that peer's environment. Raises `RuntimeError` when there is none."""
    python = Path(sys.prefix) / f"peer-{name}" / "bin" / "python"
    if not python.exists():
        raise RuntimeError(f"{name} is not installed; `make bench` installs it into {python.parent.parent.name}")
    return str(python)
