"""`message-service doctor`: run every check, say what is wrong and how to repair it."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict

from message_service.cli.checks.finding import Check, Finding, Subject
from message_service.cli.checks.indexes import check_indexes
from message_service.cli.checks.machine import check_disk, check_embedded_programs, check_open_files, check_python
from message_service.cli.checks.mongodb import check_mongodb
from message_service.cli.checks.providers import check_providers
from message_service.cli.checks.redis import check_redis
from message_service.cli.server_urls import with_server_urls
from message_service.errors import InvalidSettings
from message_service.settings import Settings, load_settings

CHECKS: Sequence[Check] = (
    check_python,
    check_open_files,
    check_embedded_programs,
    check_disk,
    check_mongodb,
    check_redis,
    check_indexes,
    check_providers,
)

_CHECK_SECONDS = 10.0
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def run_doctor(*, as_json: bool) -> int:
    """Print the findings; returns the exit code: 1 when a check failed, else 0."""
    findings = asyncio.run(_examine())
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False))
    else:
        _print_lines(findings)
    return 1 if any(finding.level == "fail" for finding in findings) else 0


async def _examine() -> list[Finding]:
    try:
        settings = load_settings()
    except InvalidSettings as refusal:
        return [Finding("settings", "fail", refusal.detail, "`message-service settings` lists what is acceptable.")]
    findings = [Finding("settings", "ok", "All settings are acceptable.")]
    subject = _subject(settings)
    for check in CHECKS:
        findings += await _run(check, subject)
    return findings


def _subject(settings: Settings) -> Subject:
    """Where a URL is missing, the servers of a `dev` that runs on the data folder stand in."""
    found = with_server_urls(settings)
    urls = (url.get_secret_value() if url else None for url in (found.mongodb_url, found.redis_url))
    return Subject(settings, *urls)


async def _run(check: Check, subject: Subject) -> Sequence[Finding]:
    name = check.__name__.removeprefix("check_").replace("_", " ")
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return await check(subject)
    except TimeoutError:
        return [Finding(name, "fail", f"No answer within {_CHECK_SECONDS:.0f} s.", "See whether it is overloaded.")]
    except Exception as fault:  # a check that breaks is a finding and must not hide the other ones
        return [Finding(name, "fail", f"The check broke: {type(fault).__name__}: {fault}", "Please report this.")]


def _print_lines(findings: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True)
    for finding in findings:
        line = Text.assemble((f"{finding.level:<5}", _STYLES[finding.level]), f"{finding.name}: {finding.sentence}")
        console.print(line)
        if finding.remedy:
            console.print(Text(f"     -> {finding.remedy}"))
