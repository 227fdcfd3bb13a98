"""The end of a run, for people: the table of scores, where the rows went, what it cost, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from distillery_api.evaluation import Evaluation, Score
from distillery_api.formatting import format_cost
from distillery_api.paths import Artefact, Workspace
from distillery_operator.cli.formatting import counts_by_name
from distillery_operator.local.run_result import RunResult

SMALL_SAMPLE = 150


@dataclass(frozen=True)
class SystemLine:
    """A line of the table."""

    field: str
    """Its name in the evaluation."""
    name: str
    prompt: str
    note: str = ""
    """What it is, where its name does not say it."""


SYSTEMS = (
    SystemLine("teacher", "Teacher", "elaborate"),
    SystemLine("base_teacher_prompt", "Base model", "elaborate"),
    SystemLine("base", "Base model", "short"),
    SystemLine("student", "Student", "short"),
    SystemLine("majority", "Majority", "-", "Majority: the most frequent answer of the training rows."),
    SystemLine("shallow", "Shallow", "-", "Shallow: word counts and logistic regression on the training rows."),
    SystemLine("lead", "Lead", "-", "Lead: the first words of the source, as many as a summary may have."),
)


@dataclass(frozen=True)
class Column:
    """A figure, shown where anybody has it."""

    heading: str
    field: str
    """Its name in a score."""
    how: str
    unit: str = ""

    def cell(self, score: Score) -> str:
        """The figure of one contestant; empty where there is none."""
        value = getattr(score, self.field)
        return "" if value is None else format(value, self.how) + self.unit


COLUMNS = (
    Column("Macro\nF1", "macro_f1", ".3f"),
    Column("Wins", "win_rate", ".1%"),
    Column("No\nanswer", "unreadable", ".1%"),
    Column("Tokens\nin", "prompt_tokens", ".0f"),
    Column("Tokens\nout", "answer_tokens", ".1f"),
    Column("Time", "latency_seconds", ".2f", "s"),
)
COLUMNS_OF_TEXTS = (
    Column("ROUGE\n1", "rouge1", ".3f"),
    Column("ROUGE\n2", "rouge2", ".3f"),
    Column("Words", "words", ".1f"),
    Column("Entities\na token", "entity_density", ".3f"),
    Column("Found in\nsource", "faithfulness", ".1%"),
    Column("Invented\nnumbers", "invented_numbers", ".1%"),
    Column("Perplexity", "perplexity", ".2f"),
)


NOTES = {
    "faithfulness": "Found in source: share of an answer's names and numbers that its source has, too.",
    "invented_numbers": "Invented numbers: share of the answers with a number that their source does not have.",
    "perplexity": "Perplexity: how surprised the model is by the teacher's replies; 1 is not at all.",
}
"""What a figure of a text means."""


def show_result(console: Console, result: RunResult, folder: Path) -> None:
    """Prints everything that a finished run has to tell."""
    if result.evaluation is not None:
        console.print()
        console.print(score_table(result.evaluation))
        if (texts := text_table(result.evaluation)) is not None:
            console.print(texts)
        _say(console, evaluation_notes(result.evaluation))
        console.print()
    _say(console, [rows_line(result), usage_line(result), *file_lines(result, folder)])


def score_table(evaluation: Evaluation) -> Table:
    """One line for each contestant that took part."""
    table = _empty_table(_title(evaluation))
    columns = _filled(evaluation, COLUMNS)
    for heading in ("Score", "95 %", *(column.heading for column in columns)):
        table.add_column(heading, justify="right")
    for contestant, score in _shown(evaluation):
        cells = [f"{score.score:.3f}", _interval(score), *(column.cell(score) for column in columns)]
        table.add_row(contestant.name, contestant.prompt, *cells, style=_style(contestant))
    return table


def text_table(evaluation: Evaluation) -> Table | None:
    """What the answers are like as texts; None where they are labels or numbers."""
    columns = _filled(evaluation, COLUMNS_OF_TEXTS)
    if not columns:
        return None
    table = _empty_table("The answers as texts")
    for column in columns:
        table.add_column(column.heading, justify="right")
    for contestant, score in _shown(evaluation):
        cells = [column.cell(score) for column in columns]
        table.add_row(contestant.name, contestant.prompt, *cells, style=_style(contestant))
    return table


def _empty_table(title: str) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("", no_wrap=True)
    table.add_column("Prompt", no_wrap=True)
    return table


def _title(evaluation: Evaluation) -> str:
    names = {"accuracy": "Accuracy", "rougeL": "ROUGE-L"}
    agreement = "Agreement (ROUGE-L)" if evaluation.is_prose else "Agreement"
    name = names.get(evaluation.metric, agreement)
    against = "gold" if evaluation.metric in names else "the teacher's answers"
    return f"{name} on {evaluation.sample_size:,} held-out rows, against {against}"


def _shown(evaluation: Evaluation) -> list[tuple[SystemLine, Score]]:
    every = ((contestant, getattr(evaluation, contestant.field)) for contestant in SYSTEMS)
    return [(contestant, score) for contestant, score in every if score is not None]


def _filled(evaluation: Evaluation, columns: tuple[Column, ...]) -> list[Column]:
    """The columns in which anybody has a figure."""
    return [column for column in columns if any(_has(score, column.field) for _, score in _shown(evaluation))]


def _has(score: Score, field: str) -> bool:
    return getattr(score, field) is not None


def _interval(score: Score) -> str:
    return "" if score.low is None or score.high is None else f"{score.low:.2f}-{score.high:.2f}"


def _style(contestant: SystemLine) -> str | None:
    return "bold" if contestant.field == "student" else None


def evaluation_notes(evaluation: Evaluation) -> list[str]:
    """What must be known to read the table rightly."""
    lines = [_gap_line(evaluation), " ".join(contestant.note for contestant, _ in _shown(evaluation)).strip()]
    if evaluation.judge:
        lines.append(
            f"Wins: how often {evaluation.judge} finds the answer better than the known one, asked in both orders; a"
            " tie is half a win."
        )
    lines.extend(note for field, note in NOTES.items() if any(_has(score, field) for _, score in _shown(evaluation)))
    if evaluation.partly_supervised:
        lines.append(
            "Training rows whose answer is not their gold were rejected (generation.filters.disagreesWithGold): the"
            " student is partly supervised."
        )
    if evaluation.device:
        lines.append(f"Time: median of single calls, base model and student on {evaluation.device}.")
    if evaluation.held_out_from_validation:
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
        test = "paired bootstrap" if evaluation.is_prose else "McNemar"
        parts.append(f"student against base model: p {chance} ({test})")
    return "; ".join(parts) + "." if parts else ""


def rows_line(result: RunResult) -> str:
    """Where the rows went."""
    rows = result.rows
    if not rows.read:
        return ""
    reasons = f": {counts_by_name(rows.rejected_by_reason)}" if rows.rejected_by_reason else ""
    return f"Rows: {rows.read:,} read, {rows.kept:,} kept, {rows.rejected:,} rejected{reasons}."


def usage_line(result: RunResult) -> str:
    """What the teacher cost, and what that was expected to be."""
    usage, estimate = result.usage, result.estimate
    if not usage.requests:
        return ""
    cached = f" ({usage.cached_input_tokens:,} of them from its cache)" if usage.cached_input_tokens else ""
    thought = f" ({usage.reasoning_tokens:,} of them thoughts)" if usage.reasoning_tokens else ""
    spent = f"; {format_cost(usage.cost)} {usage.currency or ''}".rstrip() if usage.cost is not None else ""
    expected = f" ({format_cost(estimate.cost)} expected)" if spent and estimate and estimate.cost is not None else ""
    return (
        f"Teacher: {usage.requests:,} requests, {usage.input_tokens:,} tokens read{cached},"
        f" {usage.output_tokens:,} written{thought}{spent}{expected}."
    )


def file_lines(result: RunResult, folder: Path) -> list[str]:
    """Where things lie."""
    shown = (Artefact.MODEL, Artefact.ADAPTER, Artefact.PREDICTIONS, Artefact.REJECTED)
    lines = [f"  {name + ':':<12} {folder / result.files[name]}" for name in shown if name in result.files]
    return [
        *(["Files:"] if lines else []),
        *lines,
        *([f"  {'result:':<12} {Workspace(folder).result}"] if lines else []),
    ]


def _say(console: Console, lines: list[str]) -> None:
    for line in lines:
        if line:
            console.print(line, soft_wrap=True, markup=False)
