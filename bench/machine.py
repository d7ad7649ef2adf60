"""Where and when a run was made, for whoever reads its figures later."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

_REPOSITORY = Path(__file__).parent.parent
_MEASURED_PACKAGES = ("fastapi", "uvicorn", "uvloop", "pydantic", "pymongo", "redis")


def description() -> dict[str, str]:
    """What it is -> how it is here."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "Processor": f"{_processor()}, {os.cpu_count()} cores",
        "Memory": f"{memory_bytes / 2**30:.0f} GiB",
        "System": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "Packages": ", ".join(f"{name} {version(name)}" for name in _MEASURED_PACKAGES),
        "Date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Commit": _commit(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=_REPOSITORY, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        is_changed = bool(git("status", "--porcelain", "--", "src", "bench"))
        return git("rev-parse", "--short", "HEAD") + (" with changes not committed" if is_changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
