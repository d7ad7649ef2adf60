"""What `dev` says once everything runs, and a command to paste that shows it at work."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PAGES = {"/docs": "API docs", "/console": "Console", "/metrics": "Metrics"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What there is to tell."""

    base_url: str
    pages: Sequence[str]
    """Paths that answered, of those in `PAGES`."""
    providers: Sequence[str]
    """In order of preference."""
    data_dir: Path | None
    """None when nothing is embedded."""
    embedded: Sequence[str]
    """The servers that are embedded."""
    ready_seconds: float
    has_gateway_key: bool


def print_panel(running: Running) -> None:
    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")
    for label, value in _lines(running):
        rows.add_row(label, Text(value))
    notes = [Text(note, style="yellow") for note in _notes(running)]
    console = Console()
    title = f"Message Service, ready in {running.ready_seconds:.1f} s"
    console.print(Panel(Group(rows, *notes), title=title, expand=False))
    # Outside the panel and never wrapped, so that it can be pasted.
    print("Try it in another terminal:\n")
    print(example_command(running.base_url, has_gateway_key=running.has_gateway_key))
    print("\nCtrl-C stops everything.", flush=True)


def example_command(base_url: str, *, has_gateway_key: bool) -> str:
    """One line for sh, bash or zsh: post a message that asks for a reply, then watch the reply being written.

    No exclamation mark in it: an interactive bash would take it for a look into its history.
    """
    headers = "-H 'X-User-Id: demo'"
    if has_gateway_key:
        headers += ' -H "X-Gateway-Key: $MESSAGE_SERVICE_GATEWAY_KEY"'
    body = shlex.quote('{"conversation_id":"demo","content":"Hello, who are you?","reply":{}}')
    post = f"curl -s {headers} -H 'Content-Type: application/json' -d {body} {base_url}/v1/messages"
    pick = 'python3 -c \'import json,sys; print(json.load(sys.stdin)["reply"]["stream_url"])\''
    return f'curl -sN {headers} "{base_url}$({post} | {pick})"'


def _lines(running: Running) -> list[tuple[str, str]]:
    lines = [("API", f"{running.base_url}/v1")]
    lines += [(label, running.base_url + path) for path, label in PAGES.items() if path in running.pages]
    lines.append(("Providers", ", then ".join(running.providers)))
    if running.data_dir is not None:
        lines.append(("Data folder", str(running.data_dir)))
    return lines


def _notes(running: Running) -> list[str]:
    notes = []
    if running.embedded:
        notes.append(
            f"For development: embedded servers ({', '.join(running.embedded)}) are not for production. "
            "Set MESSAGE_SERVICE_MONGODB_URL and MESSAGE_SERVICE_REDIS_URL there."
        )
    if list(running.providers) == ["scripted"]:
        notes.append(
            "The scripted provider answers: no model is configured. Set MESSAGE_SERVICE_LM_STUDIO_URL for one."
        )
    return notes
