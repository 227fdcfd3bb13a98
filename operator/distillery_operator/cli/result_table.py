"""The output at the end of a run: the result table, row counts, usage and files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic.alias_generators import to_camel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from distillery_api.breakdown import Breakdown
from distillery_api.evaluation import CallCosts, Evaluation, Score
from distillery_api.formatting import format_cost
from distillery_api.paths import Artefact
from distillery_operator.cli.layout import empty_table, say, show_table
from distillery_operator.cli.result_notes import evaluation_notes
from distillery_operator.cli.run_lines import file_lines, rows_line, usage_line
from distillery_operator.cli.search_table import search_table
from distillery_operator.local.folder_access import read_bounded
from distillery_operator.local.run_result import RESULT_LIMIT, RunResult


@dataclass(frozen=True)
class SystemLabel:
    """How a system appears in the table."""

    field: str
    """Its field in the evaluation."""
    name: str
    prompt: str
    explanation: str = ""
    """A line below the table, for systems whose name is not clear by itself."""


SYSTEMS = (
    SystemLabel("teacher", "Teacher", "teacher"),
    SystemLabel("base_teacher_prompt", "Base model", "teacher"),
    SystemLabel("base", "Base model", "student"),
    SystemLabel("student", "Student", "student"),
    SystemLabel("serving", "Serving", "student", "Serving: the student of an earlier run, which is served."),
    SystemLabel("majority", "Majority", "-", "Majority: the most frequent answer of the train rows."),
    SystemLabel("shallow", "Shallow", "-", "Shallow: TF-IDF and logistic regression on the train rows."),
    SystemLabel("lead", "Lead", "-", "Lead: the first words of the source, as many as a summary may have."),
    SystemLabel("copied", "Copy", "-", "Copy: the row's last message as the answer."),
)


@dataclass(frozen=True)
class Column:
    """A figure of the table. The column is shown if any system has it."""

    heading: str
    field: str
    """Its field in a score."""
    format_spec: str
    unit: str = ""

    def cell(self, score: Score) -> str:
        """The formatted figure of one system; empty if it has none."""
        value = getattr(score, self.field)
        return "" if value is None else format(value, self.format_spec) + self.unit


COLUMNS = (
    Column("Micro\nF1", "micro_f1", ".3f"),
    Column("Macro\nF1", "macro_f1", ".3f"),
    Column("Valid", "valid_share", ".1%"),
    Column("Exact", "exact", ".1%"),
    Column("Precision", "precision", ".3f"),
    Column("Recall", "recall", ".3f"),
    Column("Right\nfunctions", "functions", ".1%"),
    Column("Argument\nF1", "argument_f1", ".3f"),
    Column("Win\nrate", "win_rate", ".1%"),
    Column("No\nanswer", "unreadable", ".1%"),
)
REQUEST_COLUMNS = (
    Column("Input\ntokens", "prompt_tokens", ".0f"),
    Column("Output\ntokens", "answer_tokens", ".1f"),
    Column("Latency", "latency_seconds", ".2f", "s"),
)
CALL_COLUMNS = (
    Column("Valid\ncalls", "valid_calls", ".1%"),
    Column("No call:\nprecision", "no_call_precision", ".1%"),
    Column("No call:\nrecall", "no_call_recall", ".1%"),
)
TEXT_COLUMNS = (
    Column("chrF\nall rows", "chrf", ".3f"),
    Column("BLEU\nall rows", "bleu", ".3f"),
    Column("ROUGE\nL", "rouge_l", ".3f"),
    Column("Exact", "exact", ".1%"),
    Column("Rules\nkept", "rules_kept", ".1%"),
    Column("ROUGE\n1", "rouge1", ".3f"),
    Column("ROUGE\n2", "rouge2", ".3f"),
    Column("Words", "words", ".1f"),
    Column("Entities\nper token", "entity_density", ".3f"),
    Column("Faithful-\nness", "faithfulness", ".1%"),
    Column("Invented\nnumbers", "invented_numbers", ".1%"),
    Column("Perplexity", "perplexity", ".2f"),
)

METRIC_EXPLANATIONS = {
    "chrf": "chrF and BLEU of all rows: the corpus scores, from 0 to 1; the score is the mean of the rows' chrF.",
    "rules_kept": "Rules kept: share of rows whose answer keeps all of generation.filters.answerRules.",
    "valid_share": "Valid: share of replies that are one object of the schema. Exact: share of objects with the fields"
    " of the reference, and no other ones.",
    "functions": "Right functions: share of rows with the right functions. The score also demands the right arguments.",
    "valid_calls": "Valid calls: of the replies that call, the share whose calls fit the schemas of the row's tools.",
    "faithfulness": "Faithfulness: mean share of a summary's names and numbers that are also in its source.",
    "invented_numbers": "Invented numbers: share of summaries that contain a number that is not in their source.",
    "perplexity": "Perplexity: of the teacher's replies under the model. Lower is better; 1 is the minimum.",
}
"""Lines below the table, by field of a score."""


PARTS_SHOWN = 20
"""Classes or fields in the table; the file has all of them."""


def show_result(console: Console, result: RunResult, folder: Path) -> None:
    """Print the result of a finished run."""
    evaluation, verification = result.evaluation, result.verification
    if (tried := search_table(result.training)) is not None:
        console.print()
        show_table(console, tried, names=1)
    if evaluation is not None:
        if verification is not None:
            evaluation = evaluation.served(verification.latency_seconds)
        console.print()
        show_table(console, score_table(evaluation))
        for table in (text_table(evaluation), call_table(evaluation), cost_table(evaluation)):
            if table is not None:
                show_table(console, table)
        if (parts := breakdown_table(read_breakdown(result, folder))) is not None:
            show_table(console, parts)
        _print_lines(console, evaluation_notes(evaluation, verification, *_explanations(evaluation)))
        console.print()
    _print_lines(console, [rows_line(result), usage_line(result), *file_lines(result, folder)])


def _explanations(evaluation: Evaluation) -> tuple[list[str], list[str]]:
    """Of the systems and of the metrics in the tables."""
    systems = _scored_systems(evaluation)
    metrics = (text for field, text in METRIC_EXPLANATIONS.items() if any(_has(score, field) for _, score in systems))
    return [system.explanation for system, _ in systems if system.explanation], list(metrics)


def score_table(evaluation: Evaluation) -> Table:
    """The scores of all systems, one line each, with tokens and latency unless they have a table of their own."""
    table = empty_table(_title(evaluation))
    columns = _filled(evaluation, COLUMNS if _call_costs(evaluation) else (*COLUMNS, *REQUEST_COLUMNS))
    for heading in ("Score", "95% CI", *(column.heading for column in columns)):
        table.add_column(heading, justify="right")
    for system, score in _scored_systems(evaluation):
        cells = [f"{score.score:.3f}", _interval(score), *(column.cell(score) for column in columns)]
        table.add_row(system.name, system.prompt, *cells, style=_style(system))
    return table


def cost_table(evaluation: Evaluation) -> Table | None:
    """Tokens and latency of a call, and what a thousand cost; None where no cost is known. In the table of scores, the
    costs would find no room on 80 columns."""
    costs = _call_costs(evaluation)
    if not costs:
        return None
    table = empty_table("Cost")
    columns = _filled(evaluation, REQUEST_COLUMNS)
    currency = evaluation.cost.currency if evaluation.cost else None
    for heading in (*(column.heading for column in columns), f"1,000 calls\n{currency or ''}".rstrip()):
        table.add_column(heading, justify="right")
    for system, score in _scored_systems(evaluation):
        if any(figures := [*(column.cell(score) for column in columns), costs.get(system.field, "")]):
            table.add_row(system.name, system.prompt, *figures, style=_style(system))
    return table


def _call_costs(evaluation: Evaluation) -> dict[str, str]:
    """What a thousand calls cost, by the system's field; of those in the table."""
    costs = evaluation.cost or CallCosts()
    known = {"teacher": costs.teacher, "student": costs.student}
    shown = {system.field for system, _ in _scored_systems(evaluation)}
    return {field: format_cost(cost) for field, cost in known.items() if cost is not None and field in shown}


def text_table(evaluation: Evaluation) -> Table | None:
    """Metrics of answers that are texts; None if they are not."""
    return _further_table(evaluation, "Text metrics", TEXT_COLUMNS)


def call_table(evaluation: Evaluation) -> Table | None:
    """Metrics of answers that are calls; None if they are not."""
    return _further_table(evaluation, "Calls", CALL_COLUMNS)


def _further_table(evaluation: Evaluation, title: str, of_kind: tuple[Column, ...]) -> Table | None:
    columns = _filled(evaluation, of_kind)
    if not columns:
        return None
    table = empty_table(title)
    for column in columns:
        table.add_column(column.heading, justify="right")
    for system, score in _scored_systems(evaluation):
        cells = [column.cell(score) for column in columns]
        table.add_row(system.name, system.prompt, *cells, style=_style(system))
    return table


def breakdown_table(breakdown: Breakdown | None) -> Table | None:
    """F1 of each class or field, for the systems that have it: those with the most held-out rows, in the order of the
    file. None without any."""
    if breakdown is None:
        return None
    systems = [system for system in SYSTEMS if _wire_name(system) in breakdown.systems]
    found = [{part.name: part for part in breakdown.systems[_wire_name(system)].parts} for system in systems]
    rows = {name: part.rows for parts in found for name, part in parts.items()}
    shown = sorted(sorted(rows, key=lambda name: -rows[name])[:PARTS_SHOWN], key=list(rows).index)
    left_out = f", the {len(shown)} most frequent of {len(rows)}" if len(rows) > len(shown) else ""
    table = empty_table(f"F1 by {breakdown.part}{left_out}", breakdown.part.capitalize(), "Rows")
    for system in systems:
        prompt = f"\n{system.prompt} prompt" if system.prompt != "-" else ""
        table.add_column(f"{system.name}{prompt}", justify="right")
    for name in shown:
        cells = [f"{parts[name].f1:.3f}" if name in parts else "" for parts in found]
        table.add_row(Text(name), f"{rows[name]:,}", *cells)
    return table


def read_breakdown(result: RunResult, folder: Path) -> Breakdown | None:
    """What the evaluation has written by class or by field; None where there is none, or where it cannot be read."""
    path = result.files.get(Artefact.BREAKDOWN)
    if path is None:
        return None
    try:
        return Breakdown.model_validate_json(read_bounded(folder / path, RESULT_LIMIT))
    except (OSError, ValueError):
        return None


def _wire_name(system: SystemLabel) -> str:
    return to_camel(system.field)


def _title(evaluation: Evaluation) -> str:
    names = {"accuracy": "Accuracy", "rougeL": "ROUGE-L", "chrF": "chrF", "fieldF1": "Field F1"}
    agreement = f"Agreement ({evaluation.similarity})" if evaluation.similarity else "Agreement"
    name = names.get(evaluation.metric, agreement)
    against = "gold" if evaluation.metric in names else "the teacher's answers"
    return f"{name} on {evaluation.sample_size:,} held-out rows, against {against}"


def _scored_systems(evaluation: Evaluation) -> list[tuple[SystemLabel, Score]]:
    scores = ((system, getattr(evaluation, system.field)) for system in SYSTEMS)
    return [(system, score) for system, score in scores if score is not None]


def _filled(evaluation: Evaluation, columns: tuple[Column, ...]) -> list[Column]:
    """The columns in which any system has a figure."""
    return [column for column in columns if any(_has(score, column.field) for _, score in _scored_systems(evaluation))]


def _has(score: Score, field: str) -> bool:
    return getattr(score, field) is not None


def _interval(score: Score) -> str:
    return "" if score.low is None or score.high is None else f"{score.low:.2f}-{score.high:.2f}"


def _style(system: SystemLabel) -> str | None:
    return "bold" if system.field == "student" else None


def _print_lines(console: Console, lines: list[str]) -> None:
    for line in lines:
        if line:
            say(console, line)
