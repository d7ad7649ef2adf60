"""This machine: Python, the embedded servers' programs, room on disk, open files."""

import asyncio
import platform
import resource
import shutil
import subprocess
from pathlib import Path

from message_service.cli.checks.finding import Finding, Subject
from message_service.cli.open_files import WANTED_OPEN_FILES
from message_service.embedded.binaries import server_environment
from message_service.embedded.mongod import find_mongod
from message_service.embedded.redis_server import find_redis
from message_service.errors import EmbeddedServerFailed

_SPARSE_BYTES = 1_000_000_000
_TOO_FEW_BYTES = 250_000_000
_FEW_OPEN_FILES = 4096


async def check_python(_: Subject) -> list[Finding]:
    return [Finding("python", "ok", f"Python {platform.python_version()} on {platform.system()} {platform.machine()}.")]


async def check_embedded_programs(subject: Subject) -> list[Finding]:
    """Whether the programs for what has no URL are installed and run on this system."""
    wanted = []
    if subject.settings.mongodb_url is None:
        wanted.append(find_mongod)
    if subject.settings.redis_url is None:
        wanted.append(find_redis)
    findings = []
    for find in wanted:
        try:
            findings.append(await asyncio.to_thread(_run_version, find()))
        except EmbeddedServerFailed as refusal:
            findings.append(Finding("embedded servers", "warn", refusal.detail, "See above; only `dev` needs them."))
    return findings


async def check_disk(subject: Subject) -> list[Finding]:
    """MongoDB aborts when its disk is full, and needs room to start again."""
    if not subject.needs_embedded:
        return []
    folder = _nearest_existing(subject.settings.data_dir.expanduser().resolve())
    free_bytes = shutil.disk_usage(folder).free
    sentence = f"{free_bytes / 1e9:.1f} GB free for {subject.settings.data_dir}."
    if free_bytes < _TOO_FEW_BYTES:
        return [Finding("disk", "fail", sentence, "Free some space: MongoDB stops when the disk is full.")]
    if free_bytes < _SPARSE_BYTES:
        return [Finding("disk", "warn", sentence, "Free some space before MongoDB stops for want of it.")]
    return [Finding("disk", "ok", sentence)]


async def check_open_files(_: Subject) -> list[Finding]:
    """`serve` and `work` raise the soft limit by themselves, so the hard one is what counts."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit = WANTED_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_OPEN_FILES)
    sentence = f"A process may hold {limit:,} files and connections open."
    if limit < _FEW_OPEN_FILES:
        return [Finding("open files", "warn", sentence, "Raise the hard limit (ulimit -Hn): each stream takes one.")]
    return [Finding("open files", "ok", sentence)]


def _run_version(program: Path) -> Finding:
    run = subprocess.run(
        [str(program), "--version"], env=server_environment(), capture_output=True, text=True, timeout=8, check=False
    )
    if run.returncode == 0:
        return Finding("embedded servers", "ok", f"{program.name}: {run.stdout.splitlines()[0]}.")
    words = run.stderr.strip() or f"exit code {run.returncode}"
    return Finding(
        "embedded servers",
        "warn",
        f"{program.name} cannot run here: {words}.",
        "Debian and Ubuntu: apt-get install libcurl4 libssl3. Or set the URLs of servers of your own.",
    )


def _nearest_existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
