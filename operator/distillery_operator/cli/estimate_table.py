"""What a run will cost, for people: a table, where its numbers come from, and what follows from them."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.table import Table

from distillery_api.formatting import format_cost
from distillery_api.spec import Budget
from distillery_api.usage import Estimate


def estimate_table(name: str, estimate: Estimate, *, judged: bool) -> Table:
    """Requests, tokens and money, expected and within bounds."""
    table = Table(
        title=f"What {'teacher and judge' if judged else 'the teacher'} of {name} will cost",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("", no_wrap=True)
    table.add_column("Expected", justify="right")
    table.add_column("From", justify="right")
    table.add_column("To", justify="right")
    for label, amount in (
        ("Rows", estimate.rows),
        ("Requests", estimate.requests),
        ("Tokens read", estimate.input_tokens),
        ("Tokens written", estimate.output_tokens),
    ):
        table.add_row(label, f"{amount:,}", "", "")
    tokens = (estimate.input_tokens + estimate.output_tokens, estimate.low_tokens, estimate.high_tokens)
    table.add_row("Tokens together", *(f"{amount:,}" for amount in tokens))
    if estimate.cost is not None:
        costs = (estimate.cost, estimate.low_cost or 0, estimate.high_cost or 0)
        table.add_row(f"Money ({estimate.currency})", *map(format_cost, costs), style="bold")
    return table


def estimate_notes(estimate: Estimate, budget: Budget) -> list[str]:
    """What must be known to read the table rightly, and what could be done next."""
    basis = f"{estimate.basis[:1].upper()}{estimate.basis[1:]}." if estimate.basis else ""
    return [note for note in (basis, *_budget_notes(estimate, budget), *_advice(estimate)) if note]


def _budget_notes(estimate: Estimate, budget: Budget) -> Iterator[str]:
    tokens = estimate.input_tokens + estimate.output_tokens
    if budget.max_tokens is not None and budget.max_tokens < tokens:
        yield f"generation.budget.maxTokens ({budget.max_tokens:,}) ends the run before all rows are answered."
    if budget.max_cost is not None and estimate.cost is not None and budget.max_cost < estimate.cost:
        limit = f"{format_cost(budget.max_cost)} {estimate.currency}"
        yield f"generation.budget.maxCost ({limit}) ends the run before all rows are answered."


def _advice(estimate: Estimate) -> Iterator[str]:
    if estimate.cost is None:
        yield "Give the teacher's prices (generation.teachers: pricing) to see money."
    if not estimate.pilot_rows:
        yield "With --pilot a few rows are asked for real, for a better estimate; the run does not pay for them again."
