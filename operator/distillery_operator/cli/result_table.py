"""The end of a run, for people: the table of scores, where the rows went, what it cost, and what to do next."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from distillery_api.result import Evaluation, Score
from distillery_operator.cli.words import by_count
from distillery_operator.local.run_result import RunResult

SMALL_SAMPLE = 150
SHALLOW_NOTE = (
    "Shallow: word counts and logistic regression on the training rows. Majority: their most frequent answer."
)

CONTESTANTS = (
    ("teacher", "Teacher", "elaborate"),
    ("base_elaborate", "Base model", "elaborate"),
    ("base", "Base model", "short"),
    ("student", "Student", "short"),
    ("majority", "Majority", "-"),
    ("shallow", "Shallow", "-"),
)


def show_result(console: Console, result: RunResult, folder: Path) -> None:
    """Prints everything that a finished run has to tell."""
    if result.evaluation is not None:
        console.print()
        console.print(score_table(result.evaluation))
        _say(console, evaluation_notes(result.evaluation))
        console.print()
    _say(console, [rows_line(result), usage_line(result), *file_lines(result, folder)])


def score_table(evaluation: Evaluation) -> Table:
    """One line for each contestant that took part."""
    table = Table(
        title=_title(evaluation),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("", no_wrap=True)
    table.add_column("Prompt", no_wrap=True)
    for heading in ("Score", "95 %", "Macro\nF1", "No\nanswer", "Tokens\nin", "Tokens\nout", "Time"):
        table.add_column(heading, justify="right")
    for field, name, prompt in CONTESTANTS:
        score = getattr(evaluation, field)
        if score is not None:
            table.add_row(name, prompt, *_cells(score), style="bold" if field == "student" else None)
    return table


def _title(evaluation: Evaluation) -> str:
    against = "gold" if evaluation.metric == "accuracy" else "the teacher's answers"
    return f"{evaluation.metric.capitalize()} on {evaluation.sample_size:,} held-out rows, against {against}"


def _cells(score: Score) -> list[str]:
    low_high = "" if score.low is None or score.high is None else f"{score.low:.2f}-{score.high:.2f}"
    return [
        f"{score.score:.3f}",
        low_high,
        _number(score.macro_f1, ".3f"),
        _number(score.unreadable, ".1%"),
        _number(score.prompt_tokens, ".0f"),
        _number(score.answer_tokens, ".1f"),
        _number(score.latency_seconds, ".2f", "s"),
    ]


def _number(value: float | None, how: str, unit: str = "") -> str:
    return "" if value is None else format(value, how) + unit


def evaluation_notes(evaluation: Evaluation) -> list[str]:
    """What must be known to read the table rightly."""
    lines = [_gap_line(evaluation), SHALLOW_NOTE if evaluation.shallow else ""]
    if evaluation.device:
        lines.append(f"Time: median of single calls, base model and student on {evaluation.device}.")
    if evaluation.carved_from_validation:
        lines.append("There is no test split: half of the validation rows were held out for this table.")
    if evaluation.sample_size < SMALL_SAMPLE:
        lines.append(
            f"{evaluation.sample_size} rows are few: differences within the 95 % intervals mean nothing. Take"
            f" {SMALL_SAMPLE} or more."
        )
    return [line for line in lines if line]


def _gap_line(evaluation: Evaluation) -> str:
    parts = []
    if evaluation.gap_closed is not None:
        parts.append(f"Gap closed: {evaluation.gap_closed:.2f} of the way from the base model to the teacher")
    if evaluation.p_value is not None:
        chance = f"{evaluation.p_value:.3f}" if evaluation.p_value >= 0.001 else "below 0.001"
        parts.append(f"student against base model: p {chance} (McNemar)")
    return "; ".join(parts) + "." if parts else ""


def rows_line(result: RunResult) -> str:
    """Where the rows went."""
    rows = result.rows
    if not rows.read:
        return ""
    reasons = f": {by_count(rows.rejected_by_reason)}" if rows.rejected_by_reason else ""
    return f"Rows: {rows.read:,} read, {rows.kept:,} kept, {rows.rejected:,} rejected{reasons}."


def usage_line(result: RunResult) -> str:
    """What the teacher cost."""
    usage = result.usage
    if not usage.requests:
        return ""
    return f"Teacher: {usage.requests:,} requests, {usage.input_tokens:,} tokens read, {usage.output_tokens:,} written."


def file_lines(result: RunResult, folder: Path) -> list[str]:
    """Where things lie."""
    shown = ("model", "adapter", "predictions", "rejected")
    lines = [f"  {name + ':':<12} {folder / result.files[name]}" for name in shown if name in result.files]
    return [*(["Files:"] if lines else []), *lines, *([f"  {'result:':<12} {folder / 'result.json'}"] if lines else [])]


def _say(console: Console, lines: list[str]) -> None:
    for line in lines:
        if line:
            console.print(line, soft_wrap=True, markup=False)
