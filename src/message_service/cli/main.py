"""The commands. Each imports what it needs when it runs, so that none waits for another's libraries."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from message_service.cli import dead_letters
from message_service.errors import StartRefused, Unavailable
from message_service.ids import WorkerId
from message_service.messages.reply import WorkKind

START_REFUSED_EXIT_CODE = 2

app = typer.Typer(
    help="Stores and answers the messages of a character-chat platform.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks print local variables, secrets among them
)


app.add_typer(dead_letters.app, name="dead-letters")


def main() -> None:
    """What keeps a process from starting is one sentence on standard error and exit code 2."""
    try:
        app()
    except StartRefused as refusal:
        _refuse(refusal.detail)
    except Unavailable as fault:
        _refuse(f"{fault.detail} `message-service doctor` looks for the cause.")


def _refuse(sentence: str) -> None:
    print(f"message-service: {sentence}", file=sys.stderr)
    sys.exit(START_REFUSED_EXIT_CODE)


@app.command()
def dev(
    port: Annotated[int | None, typer.Option(help="Port of the API; 0 picks a free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder the embedded servers keep their data in.")] = None,
) -> None:
    """Run everything with one command: embedded MongoDB and Redis, API, worker. For development."""
    from message_service.cli.dev import run_dev
    from message_service.settings import load_settings

    given = {"port": port, "data_dir": data_dir}
    run_dev(load_settings(**{name: value for name, value in given.items() if value is not None}))


@app.command()
def serve() -> None:
    """Run the HTTP API."""
    from message_service.api.server import run_api
    from message_service.cli.open_files import raise_open_files_limit
    from message_service.settings import load_settings

    raise_open_files_limit()
    run_api(load_settings())


@app.command()
def work(
    kind: Annotated[
        list[WorkKind] | None, typer.Option(help="What this worker takes. Repeat it for several; all when left out.")
    ] = None,
    id_: Annotated[str | None, typer.Option("--id", hidden=True, help="Its name in the store.")] = None,
    replaces: Annotated[
        list[str] | None, typer.Option(hidden=True, help="A dead worker, whose replies run again at once.")
    ] = None,
    standby: Annotated[bool, typer.Option(hidden=True, help="Wait to be told both on standard input.")] = False,
) -> None:
    """Run a worker that answers queued replies."""
    from message_service.cli.open_files import raise_open_files_limit
    from message_service.cli.standby import await_order
    from message_service.settings import load_settings
    from message_service.wiring.worker import run_worker

    raise_open_files_limit()
    worker_id, dead = WorkerId(id_) if id_ else None, [WorkerId(one) for one in replaces or ()]
    if standby:
        worker_id, dead = await_order()
    run_worker(load_settings(), tuple(kind or WorkKind), worker_id=worker_id, replaces=dead)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check that everything the service needs is there, and say how to repair what is not."""
    from message_service.cli.doctor import run_doctor

    raise typer.Exit(run_doctor(as_json=as_json))


providers = typer.Typer(help="Look at the providers that write replies.", no_args_is_help=True)
app.add_typer(providers, name="providers")


@providers.command("list")
def providers_list() -> None:
    """Show what is configured and whether it could answer now."""
    from message_service.cli.providers import list_providers
    from message_service.settings import load_settings

    raise typer.Exit(list_providers(load_settings()))


@providers.command("test")
def providers_test(
    name: Annotated[str | None, typer.Argument(help="Only this provider. Left out: each in turn.")] = None,
) -> None:
    """Ask one short prompt and show the answer."""
    from message_service.cli.providers import ask_provider
    from message_service.settings import load_settings

    raise typer.Exit(ask_provider(load_settings(), name))


@providers.command("breakers")
def providers_breakers() -> None:
    """Show, as the running workers see it, which providers are left alone, and why."""
    from message_service.cli.providers import show_breakers
    from message_service.settings import load_settings

    raise typer.Exit(show_breakers(load_settings()))


@app.command()
def reprice(
    since: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="First day (UTC) whose attempts are looked at.")
    ],
) -> None:
    """Reckon the cost of past attempts again, by this version's prices; corrections are booked beside them."""
    from message_service.cli.reprice import run_reprice
    from message_service.settings import load_settings

    run_reprice(load_settings(), since.replace(tzinfo=UTC))


@app.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    import json

    from message_service.api.app import openapi_document

    print(json.dumps(openapi_document(), indent=2, sort_keys=True, ensure_ascii=False))


@app.command()
def settings(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page kept in docs/configuration.md.")] = False,
) -> None:
    """Print every setting: its environment variable, values, default and meaning."""
    from message_service.cli.settings_reference import as_markdown, print_table

    if markdown:
        print(as_markdown(), end="")
    else:
        print_table()


if __name__ == "__main__":
    main()
