"""The students of a search, the best first."""

from __future__ import annotations

from rich.table import Table

from distillery_api.search_figures import SearchFigures, Trial, TrialFailure
from distillery_api.stage_result import TrainingFigures
from distillery_operator.cli.formatting import duration
from distillery_operator.cli.layout import empty_table

_FAILURES = {TrialFailure.DIVERGED: "diverged", TrialFailure.OUT_OF_MEMORY: "out of memory"}


def search_table(figures: TrainingFigures | None) -> Table | None:
    """What was tried, what came of it, and how long it took; None without a search."""
    if figures is None or figures.search is None:
        return None
    search = figures.search
    cells = [_cells(number, trial) for number, trial in enumerate(search.trials)]
    headings = [heading for heading in _HEADINGS if any(row[heading] for row in cells)]
    table = empty_table(_title(search), *headings[:2])
    for heading in headings[2:]:
        table.add_column(heading, justify="right")
    for number, row in enumerate(cells):
        table.add_row(*(row[heading] for heading in headings), style=None if number else "bold")
    return table


_HEADINGS = ("Trial", "Learning\nrate", "Epochs", "Rank", "Validation\nscore", "Validation\nloss", "Time", "Note")


def _title(search: SearchFigures) -> str:
    tried, took = search.trained + search.failed, duration(search.seconds)
    if search.left_out:
        return f"Search: {tried} of {tried + search.left_out} trials in {took}, until maxDuration was over"
    trials = "1 trial" if tried == 1 else f"{tried} trials"
    some = f" of {search.combinations} combinations" if tried < search.combinations else ""
    return f"Search: {trials}{some} in {took}, the best one is the student"


def _cells(number: int, trial: Trial) -> dict[str, str]:
    """The texts of one line, by heading; empty where there is nothing to say."""
    values = (
        str(number + 1) if number else "student",
        _number(trial.learning_rate, "g"),
        _number(trial.epochs, "d"),
        _number(trial.rank, "d"),
        _number(trial.score, ".3f"),
        _number(trial.loss, ".4f"),
        "" if trial.seconds is None else duration(trial.seconds),
        _FAILURES[trial.failure] if trial.failure else "cut short" if trial.is_over_time else "",
    )
    return dict(zip(_HEADINGS, values, strict=True))


def _number(value: float | None, format_spec: str) -> str:
    return "" if value is None else format(value, format_spec)
