"""`message-service dead-letters`: replies that failed, asking for them again, and letting them be."""

import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer

from message_service.errors import MessageServiceError, StartRefused, Unavailable
from message_service.ids import ReplyId, UserId
from message_service.messages.dead_letter import DeadLetter, DeadLetterState

app = typer.Typer(help="Replies that failed: list, show, retry, drop.", no_args_is_help=True)

_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_ReplyIdArgument = Annotated[str, typer.Argument(metavar="REPLY_ID")]


@app.command("list")
def list_letters(
    state: Annotated[DeadLetterState, typer.Option(help="Which.")] = DeadLetterState.OPEN,
    user: Annotated[str | None, typer.Option(help="Only this user's.")] = None,
    code: Annotated[str | None, typer.Option(help="Only those that failed with this code.")] = None,
    before: Annotated[str | None, typer.Option(help="Only those asked for before this reply.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    as_json: _AsJson = False,
) -> None:
    """Newest first."""

    async def find(services: Any) -> list[DeadLetter]:
        found: list[DeadLetter] = await services.revival.letters.newest(
            limit=limit,
            before=ReplyId(before) if before else None,
            state=state,
            user_id=UserId(user) if user else None,
            code=code,
        )
        return found

    letters = _run(find)
    if as_json:
        _print_json([_json(letter) for letter in letters])
        return
    for letter in letters:
        print(letter.reply_id, letter.failed_at.isoformat(timespec="seconds"), letter.error.code, letter.user_id)


@app.command()
def show(reply_id: _ReplyIdArgument, as_json: _AsJson = False) -> None:
    """All that is kept of one, and where its message is."""
    letter: DeadLetter = _run(lambda services: services.revival.letters.get(ReplyId(reply_id)))
    if as_json:
        _print_json(_json(letter))
        return
    for name, value in _json(letter).items():
        print(f"{name}: {value}")
    print(f"The message: GET /v1/messages/{letter.message_id} as user {letter.user_id}")


@app.command()
def retry(reply_id: _ReplyIdArgument, as_json: _AsJson = False) -> None:
    """Ask for the reply again. Repeated, it names the first retry."""
    from message_service.journey.revive import revive

    reply = _run(lambda services: revive(ReplyId(reply_id), by=_whoever_runs_this(), desk=services.revival))
    if as_json:
        _print_json({"retried_as": reply.id, "status": reply.status.value})
    else:
        print(reply.id)


@app.command()
def drop(reply_id: _ReplyIdArgument, as_json: _AsJson = False) -> None:
    """Let it be."""

    async def let_it_be(services: Any) -> DeadLetter:
        letters = services.revival.letters
        await letters.drop(await letters.get(ReplyId(reply_id)), _whoever_runs_this())
        letter: DeadLetter = await letters.get(ReplyId(reply_id))
        return letter

    letter = _run(let_it_be)
    if as_json:
        _print_json(_json(letter))
    else:
        print(letter.state.value)


def _run(act: Callable[[Any], Awaitable[Any]]) -> Any:
    import asyncio

    from message_service.cli.server_urls import with_server_urls
    from message_service.logs import configure_logs
    from message_service.settings import load_settings
    from message_service.wiring.api import open_api

    settings = with_server_urls(load_settings())
    # To standard error: standard output is for what was asked.
    configure_logs(level=settings.log_level, format_=settings.log_format, role="cli")

    async def act_on_the_stores() -> Any:
        async with open_api(settings) as services:
            return await act(services)

    try:
        return asyncio.run(act_on_the_stores())
    except (StartRefused, Unavailable):
        raise
    except MessageServiceError as refusal:
        print(f"message-service: {refusal.detail}", file=sys.stderr)
        raise typer.Exit(1) from None


def _whoever_runs_this() -> UserId:
    """For the audit."""
    import getpass

    return UserId(f"cli:{getpass.getuser()}")


def _print_json(answer: object) -> None:
    import json

    print(json.dumps(answer, indent=2))


def _json(letter: DeadLetter) -> dict[str, Any]:
    from message_service.api.wire import dead_letter_json

    return dead_letter_json(letter)
