"""The quality gate: whether a student may be rolled out, judging by its result table alone."""

from __future__ import annotations

from collections.abc import Iterator

from distillery_api.evaluation import Evaluation, GateVerdict
from distillery_api.spec import Gate

_DECIMALS = 9
"""Scores have four digits; what is left of a difference beyond these decimals is the arithmetic's."""


def gate_verdict(gate: Gate, table: Evaluation | None) -> GateVerdict:
    """Whether the student of `table` meets every bound of `gate`, with the figures. One without figures does not."""
    if table is None or table.student is None:
        return GateVerdict(met=False, message="the result table holds no score of the student")
    bounds = tuple(_bounds(gate, table, table.student.score))
    failed = tuple(sentence for met, sentence in bounds if not met)
    return GateVerdict(met=not failed, message="; ".join(failed or (sentence for _, sentence in bounds)))


Bound = tuple[bool, str]
"""Whether it is met, and a sentence with the figures."""


def _bounds(gate: Gate, table: Evaluation, score: float) -> Iterator[Bound]:
    if gate.min_score is not None:
        yield _lower_bound(f"score {score:g}", score, "minScore", gate.min_score)
    if gate.min_gain_over_base is not None:
        yield _gain_bound(table, score, gate.min_gain_over_base)


def _gain_bound(table: Evaluation, score: float, least: float) -> Bound:
    scores = [system.score for system in (table.base, table.base_teacher_prompt) if system is not None]
    if not scores:
        return False, "the result table holds no score of the base model, which minGainOverBase needs"
    gain = score - max(scores)
    figures = f"gain of {gain:.4g} over the base model ({score:g} against {max(scores):g})"
    return _lower_bound(figures, gain, "minGainOverBase", least)


def _lower_bound(figures: str, value: float, name: str, least: float) -> Bound:
    met = round(value - least, _DECIMALS) >= 0
    return met, f"{figures} is {'at least' if met else 'below'} {name} {least:g}"
