"""Prose and tables in a terminal of any width: no word is broken, and no figure is cut off."""

from __future__ import annotations

import textwrap

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print prose: wrapped between words in a terminal, in one line elsewhere, so that it can be searched for. Indented
    lines, such as commands and paths, are left whole."""
    for line in text.split("\n"):
        for part in _wrapped(console, line):
            console.print(Text(part, style or ""), soft_wrap=True, highlight=False)


def _wrapped(console: Console, line: str) -> list[str]:
    is_screen = console.is_interactive or console.is_dumb_terminal
    if not is_screen or line.startswith(" "):
        return [line]
    width = max(20, console.width)
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) or [""]


def empty_table(title: str, first: str = "", second: str = "Prompt") -> Table:
    """A table with two columns of texts, and no row yet."""
    table = Table(
        title=Text(title, style="bold", no_wrap=True, overflow="ignore"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column(first, no_wrap=True)
    table.add_column(second, no_wrap=True)
    return table


def show_table(console: Console, table: Table, names: int = 2) -> None:
    """Print a table; where the terminal is too narrow for it, one line for each of its cells, below the first cells of
    its row, so many of which name it."""
    if Measurement.get(console, console.options.update(max_width=10_000), table).minimum <= console.width:
        console.print(table)
        return
    if table.title:
        say(console, str(table.title), "bold")
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        say(console, " ".join(part for part in map(_plain, cells[:names]) if part and part != "-"))
        for column, cell in zip(table.columns[names:], cells[names:], strict=True):
            if _plain(cell):
                say(console, f"  {_plain(column.header)}: {_plain(cell)}")


def _plain(cell: object) -> str:
    return " ".join(str(cell).replace("-\n", "").split())
