"""Runs aimock (npm, MIT), a third party's OpenAI-compatible server with faults on request.

It is installed once, at a fixed version and hash, into the user's cache folder; without Node it is not used.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PACKAGE = "@copilotkit/aimock"
VERSION = "1.43.0"
INTEGRITY = "sha512-V8D8cjSMtAR4rHaD2ulp3DR/ZguXQjDNOqwKDNvjb/OJL/KR1I0SDf5xpRCd+TYKjhmf9fM8Xpg3QBKPmV9Kmw=="
FIXTURES = Path(__file__).with_name("aimock_fixtures.json")
_MIN_NODE = (20, 15)
_INSTALL_SECONDS = 180
_START_SECONDS = 30


class AimockUnavailable(Exception):
    """It cannot run here; the text says why."""


@contextmanager
def aimock() -> Iterator[str]:
    """The address of a running server that plays `FIXTURES`. Raises `AimockUnavailable`."""
    node = _node()
    program = _installed() / "node_modules" / PACKAGE / "dist" / "cli.js"
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [node, program, "-p", "0", "-f", FIXTURES, "--log-level", "info"], stdout=log, stderr=log
        )
        try:
            yield _address(process, log.fileno())
        finally:
            process.kill()
            process.wait()


def _node() -> str:
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        raise AimockUnavailable("node and npm are not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(map(int, version.removeprefix("v").split(".")[:2])) < _MIN_NODE:
        raise AimockUnavailable(f"node {version} is older than {'.'.join(map(str, _MIN_NODE))}")
    return node


def _installed() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "message-service"
    home = cache / f"aimock-{VERSION}"
    if home.exists():
        return home
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as folder:
        command = ["npm", "install", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            done = subprocess.run(
                [*command, f"{PACKAGE}@{VERSION}"], capture_output=True, text=True, timeout=_INSTALL_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise AimockUnavailable(f"npm did not install it within {_INSTALL_SECONDS} s") from None
        if done.returncode != 0:
            raise AimockUnavailable(f"npm could not install it: {done.stderr.strip()[-200:]}")
        lock = json.loads(Path(folder, "node_modules", ".package-lock.json").read_text())
        if lock["packages"][f"node_modules/{PACKAGE}"]["integrity"] != INTEGRITY:
            raise AimockUnavailable("what npm installed has another hash than it should have")
        # Renamed once it is whole; another test process may have been quicker.
        with suppress(OSError):
            Path(folder).rename(home)
    return home


def _address(process: subprocess.Popen[bytes], log: int) -> str:
    give_up_at = time.monotonic() + _START_SECONDS
    while time.monotonic() < give_up_at and process.poll() is None:
        told = os.pread(log, 65_536, 0).decode("utf-8", "replace")
        if found := re.search(r"listening on (http://\S+)", told):
            return found.group(1)
        time.sleep(0.05)
    raise RuntimeError(f"aimock did not start: {os.pread(log, 65_536, 0).decode('utf-8', 'replace')}")
