"""`python -m bench`: run the benchmarks, print one table, exit with 1 if a benchmark could not be measured."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import machine
from bench.benchmarks.accept import accept, accept_alone
from bench.benchmarks.first_token import first_token
from bench.benchmarks.history import history
from bench.benchmarks.memory import memory
from bench.benchmarks.queue import queue
from bench.benchmarks.start import start
from bench.benchmarks.stream import stream
from bench.figures import Figure
from bench.neighbours import Neighbours
from bench.report import print_table, write_markdown
from bench.scope import Benchmark, Scope
from message_service.cli.open_files import raise_open_files_limit

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"

BENCHMARKS: dict[str, Benchmark] = {
    "accept": accept,
    "accept-alone": accept_alone,
    "history": history,
    "queue": queue,
    "first-token": first_token,
    "stream": stream,
    "memory": memory,
    "start": start,
}


def bench(
    only: Annotated[list[str] | None, typer.Option(help=f"Run only this one: {', '.join(BENCHMARKS)}.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each side is measured, in turn.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of one measurement.")] = 5,
    messages: Annotated[int, typer.Option(min=20_000, help="Messages in the large collection.")] = 1_000_000,
    markdown: Annotated[bool, typer.Option("--markdown", help="Write the results into docs/performance.md.")] = False,
) -> None:
    """Measure this service beside its floor. Machines differ: only ratios, CPU times and counts are judged."""
    unknown = set(only or ()) - set(BENCHMARKS)
    if unknown:
        raise typer.BadParameter(f"there is no benchmark {', '.join(sorted(unknown))}")
    if markdown and only:
        raise typer.BadParameter("docs/performance.md holds full runs, so --markdown goes without --only")
    raise_open_files_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # servers and folders are cleared away
    console, progress = Console(), Console(stderr=True)
    where = machine.description()
    scope = Scope(
        rounds=rounds,
        measure_seconds=seconds,
        warm_up_seconds=1,
        collection_messages=messages,
        say=lambda line: progress.print(line, highlight=False),
    )
    neighbours = Neighbours()
    figures, failures = _run([name for name in BENCHMARKS if not only or name in only], scope)
    where["Other processes"] = f"used {neighbours.share():.0%} of the processors' time during the run"
    print_table(figures, console)
    console.print(f"Other processes {where['Other processes']}.")
    for name, fault in failures.items():
        console.print(f"{name} could not be measured: {fault}", style="bold red", markup=False)
    if failures:
        raise typer.Exit(1)
    if markdown:
        write_markdown(PAGE, figures, where, f"{rounds} rounds of {seconds:g} s, {messages:,} messages")
        console.print(f"Written to {PAGE}")


def _run(names: list[str], scope: Scope) -> tuple[list[Figure], dict[str, Exception]]:
    """One that fails does not cost the results of the others."""
    figures: list[Figure] = []
    failures: dict[str, Exception] = {}
    for name in names:
        scope.say(f"{name} ...")
        try:
            figures += BENCHMARKS[name](scope)
        except Exception as fault:  # reported with its name, and the run ends with 1
            failures[name] = fault
    return figures, failures


if __name__ == "__main__":
    typer.run(bench)
