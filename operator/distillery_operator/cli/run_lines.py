"""The last lines of a run: row counts, usage and files."""

from __future__ import annotations

from pathlib import Path

from distillery_api.formatting import format_cost
from distillery_api.paths import Artefact, Workspace
from distillery_operator.cli.formatting import counts_by_name
from distillery_operator.local.run_result import RunResult


def rows_line(result: RunResult) -> str:
    """Numbers of rows read, kept and rejected by reason."""
    rows = result.rows
    if not rows.read:
        return ""
    reasons = f": {counts_by_name(rows.rejected_by_reason)}" if rows.rejected_by_reason else ""
    return f"Rows: {rows.read:,} read, {rows.kept:,} kept, {rows.rejected:,} rejected{reasons}."


def usage_line(result: RunResult) -> str:
    """Requests, tokens and cost, and the estimated cost."""
    usage, estimate = result.usage, result.estimate
    if not usage.requests:
        return ""
    cached = f" ({usage.cached_input_tokens:,} cached)" if usage.cached_input_tokens else ""
    reasoning = f" ({usage.reasoning_tokens:,} reasoning)" if usage.reasoning_tokens else ""
    cost = f"; {format_cost(usage.cost)} {usage.currency or ''}".rstrip() if usage.cost is not None else ""
    expected = f" ({format_cost(estimate.cost)} expected)" if cost and estimate and estimate.cost is not None else ""
    return (
        f"Teacher: {usage.requests:,} requests, {usage.input_tokens:,} input tokens{cached},"
        f" {usage.output_tokens:,} output tokens{reasoning}{cost}{expected}."
    )


def file_lines(result: RunResult, folder: Path) -> list[str]:
    """Paths of the most important files."""
    shown = (Artefact.MODEL, Artefact.ADAPTER, Artefact.PREDICTIONS, Artefact.REJECTED)
    lines = [f"  {name + ':':<12} {folder / result.files[name]}" for name in shown if name in result.files]
    return [
        *(["Files:"] if lines else []),
        *lines,
        *([f"  {'result:':<12} {Workspace(folder).result}"] if lines else []),
    ]
