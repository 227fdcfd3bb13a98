"""An estimate as a table, with notes on where its numbers come from and what follows from them."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.table import Table

from distillery_api.formatting import format_cost
from distillery_api.spec import Budget
from distillery_api.usage import Estimate


def estimate_table(name: str, estimate: Estimate, *, judged: bool) -> Table:
    """Expected requests, tokens and cost, with bounds."""
    table = Table(
        title=f"Estimate for {name} ({'teacher and judge' if judged else 'teacher'})",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("", no_wrap=True)
    table.add_column("Expected", justify="right")
    table.add_column("Lower bound", justify="right")
    table.add_column("Upper bound", justify="right")
    stored = estimate.stored_rows
    for label, amount in (
        ("Rows to ask" if stored else "Rows", estimate.rows),
        *((("Rows answered before", stored),) if stored else ()),
        ("Requests", estimate.requests),
        ("Input tokens", estimate.input_tokens),
        ("Output tokens", estimate.output_tokens),
    ):
        table.add_row(label, f"{amount:,}", "", "")
    tokens = (estimate.input_tokens + estimate.output_tokens, estimate.low_tokens, estimate.high_tokens)
    table.add_row("Total tokens", *(f"{amount:,}" for amount in tokens))
    if estimate.cost is not None:
        costs = (estimate.cost, estimate.low_cost or 0, estimate.high_cost or 0)
        table.add_row(f"Cost ({estimate.currency})", *map(format_cost, costs), style="bold")
    return table


def estimate_notes(estimate: Estimate, budget: Budget) -> list[str]:
    """How the numbers were obtained, whether the budget suffices, and how to improve the estimate."""
    basis = f"{estimate.basis[:1].upper()}{estimate.basis[1:]}." if estimate.basis else ""
    return [line for line in (basis, *_budget_notes(estimate, budget), *_advice(estimate)) if line]


def _budget_notes(estimate: Estimate, budget: Budget) -> Iterator[str]:
    tokens = estimate.input_tokens + estimate.output_tokens
    if budget.max_tokens is not None and budget.max_tokens < tokens:
        yield _too_small(f"maxTokens ({budget.max_tokens:,})")
    if budget.max_cost is not None and estimate.cost is not None and budget.max_cost < estimate.cost:
        yield _too_small(f"maxCost ({format_cost(budget.max_cost)} {estimate.currency})")


def _too_small(limit: str) -> str:
    return f"generation.budget.{limit} is below the estimate: the run will fail before all rows are answered."


def _advice(estimate: Estimate) -> Iterator[str]:
    if estimate.cost is None:
        yield "To estimate the cost, set the teacher's pricing (generation.teachers[0].pricing)."
    if not estimate.pilot_rows:
        yield "For a better estimate, use --pilot: it sends some rows to the teacher, and the run reuses the replies."
