"""Figures as a table on the terminal, and as Markdown between two markers of a page."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.figures import Figure, Judged, Spread, Target

BEGIN_MARKER = "<!-- results: written by `python -m bench --markdown` -->"
END_MARKER = "<!-- end of results -->"
COLUMNS = ("benchmark", "figure", "ours", "floor or peer", "ratio (least to greatest)", "target", "met")


def rows(figures: Sequence[Figure]) -> list[tuple[str, ...]]:
    """One row a figure, in the order of `COLUMNS`."""
    return [
        (
            figure.benchmark,
            figure.name,
            _amount(Spread.of(figure.ours).median, figure.unit),
            f"{figure.peer_name} {_amount(Spread.of(figure.peer).median, figure.unit)}" if figure.peer else "",
            _comparison(figure),
            _target(figure.target, figure.unit),
            {True: "yes", False: "NO", None: ""}[figure.is_met],
        )
        for figure in figures
    ]


def print_table(figures: Sequence[Figure], console: Console) -> None:
    table = Table(title="Message Service, measured")
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in ("ours", "floor or peer") else "left")
    for figure, row in zip(figures, rows(figures), strict=True):
        table.add_row(*row, style={True: "green", False: "bold red", None: ""}[figure.is_met])
    console.print(table)


def write_markdown(page: Path, figures: Sequence[Figure], machine: Mapping[str, str], settings: str) -> None:
    """Replace what stands between the markers of `page`. Raises `ValueError` when it has none."""
    before, begin, rest = page.read_text().partition(BEGIN_MARKER)
    _, end, after = rest.partition(END_MARKER)
    if not begin or not end:
        raise ValueError(f"{page} lacks the markers {BEGIN_MARKER} and {END_MARKER}")
    lines = [begin, ""]
    lines += [f"- {what}: {how}" for what, how in machine.items()]
    lines += [f"- Run: {settings}", "", _line(COLUMNS), _line(["---"] * len(COLUMNS))]
    lines += [_line(row) for row in rows(figures)]
    page.write_text(before + "\n".join([*lines, "", end]) + after)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _amount(value: float, unit: str) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f} {unit}".rstrip()


def _comparison(figure: Figure) -> str:
    found = figure.comparison
    if found is None:
        return ""
    if figure.target is not None and figure.target.judged is Judged.DIFFERENCE:
        return f"{found.median:+.1f} {figure.unit} ({found.least:+.1f} to {found.greatest:+.1f})"
    return f"{found.median:.2f} ({found.least:.2f} to {found.greatest:.2f})"


def _target(target: Target | None, unit: str) -> str:
    if target is None:
        return ""
    sign = ">=" if target.is_at_least else "<="
    if target.judged is Judged.RATIO:
        return f"{sign} {target.bound:g} x"
    return f"{sign} {'+' if target.judged is Judged.DIFFERENCE else ''}{target.bound:g} {unit}"
