"""The lines below the result table: verdict, next step, learning curve, gate, and what the figures mean."""

from __future__ import annotations

from collections.abc import Sequence

from distillery_api.evaluation import SMALL_SAMPLE, CallCosts, Evaluation
from distillery_api.formatting import format_cost
from distillery_api.verification import Verification


def evaluation_notes(
    evaluation: Evaluation, verification: Verification | None, systems: Sequence[str], metrics: Sequence[str]
) -> list[str]:
    """Lines below the tables: the verdict first. `systems` and `metrics` explain what the tables show."""
    lines = [
        *_verdict_lines(evaluation),
        _curve_line(evaluation),
        _gate_line(evaluation),
        _gap_line(evaluation),
        " ".join(systems),
    ]
    if evaluation.judge:
        lines.append(
            f"Win rate: share of rows on which {evaluation.judge} prefers the answer to the reference answer, judged in"
            " both orders; a tie counts as half a win."
        )
    lines.extend(metrics)
    if evaluation.partly_supervised:
        lines.append(
            "Train rows whose answer differs from their gold were rejected (generation.filters.disagreesWithGold): the"
            " student is partly supervised."
        )
    if evaluation.device:
        lines.append(f"Latency: median of single requests; {_measured_systems(evaluation, verification)}.")
    lines.append(_cost_line(evaluation.cost))
    if evaluation.held_out_from_validation:
        lines.append("There is no test split: half of the validation rows were held out for the evaluation.")
    if evaluation.sample_size < SMALL_SAMPLE:
        lines.append(
            f"{evaluation.sample_size} held-out rows are a small sample: differences within the 95% confidence"
            f" intervals mean nothing. Use {SMALL_SAMPLE} rows or more."
        )
    return [line for line in lines if line]


def _cost_line(costs: CallCosts | None) -> str:
    if costs is None:
        return ""
    of_both = {"teacher, by its tokens": costs.teacher, "student, by the time of its server": costs.student}
    known = [f"{format_cost(cost)} ({name})" for name, cost in of_both.items() if cost is not None]
    return f"1,000 calls cost{f' in {costs.currency}' if costs.currency else ''}: {', '.join(known)}."


def _measured_systems(evaluation: Evaluation, verification: Verification | None) -> str:
    device, while_busy = evaluation.device, ", while the machine was busy" if evaluation.busy else ""
    if verification is None:
        return f"base model and student run on {device}{while_busy}"
    busy = ", while the machine was busy" if verification.busy else ""
    return f"base model on {device}{while_busy}, student through its server{busy}"


def _verdict_lines(evaluation: Evaluation) -> list[str]:
    verdict = evaluation.verdict
    return [f"Verdict: {verdict.message}", f"Next step: {verdict.next_step}"] if verdict else []


def _curve_line(evaluation: Evaluation) -> str:
    curve = evaluation.learning_curve
    return f"Learning curve: {curve.sentence()}." if curve else ""


def _gate_line(evaluation: Evaluation) -> str:
    if evaluation.gate is None:
        return ""
    return f"Quality gate {'passed' if evaluation.gate.met else 'failed'}: {evaluation.gate.message}."


def _gap_line(evaluation: Evaluation) -> str:
    parts = []
    if evaluation.gap_closed is not None:
        parts.append(f"Gap closed: {evaluation.gap_closed:.2f} of the gap between base model and teacher")
    if evaluation.p_value is not None:
        p_value = f"p = {evaluation.p_value:.3f}" if evaluation.p_value >= 0.001 else "p < 0.001"
        test = "paired bootstrap" if evaluation.is_partly_right else "McNemar"
        parts.append(f"significance of student vs. base model: {p_value} ({test})")
    line = "; ".join(parts)
    return f"{line[:1].upper()}{line[1:]}." if line else ""
