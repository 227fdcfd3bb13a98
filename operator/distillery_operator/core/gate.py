"""The quality gate: whether a student may be rolled out, judging by its result table alone."""

from __future__ import annotations

from collections.abc import Iterator

from distillery_api.evaluation import Evaluation, GateVerdict, ServingComparison
from distillery_api.spec import AgainstServing, Gate

SIGNIFICANT = 0.05
"""p-values below it tell two students apart."""

_DECIMALS = 9
"""Scores have four digits; what is left of a difference beyond these decimals is the arithmetic's."""


def gate_verdict(gate: Gate, table: Evaluation | None, serving: str | None = None) -> GateVerdict:
    """Whether the student of `table` meets every bound of `gate`, with the figures. One without figures does not.

    `serving` is the hash of another student that is served, and that it has to be compared with.
    """
    if table is None or table.student is None:
        return GateVerdict(met=False, message="the result table holds no score of the student")
    bounds = (*_bounds(gate, table, table.student.score), *_against_serving(gate, table, table.student.score, serving))
    failed = tuple(sentence for met, sentence in bounds if not met)
    sentences = failed or tuple(sentence for _, sentence in bounds) or ("no other student is served",)
    return GateVerdict(met=not failed, message="; ".join(sentences))


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


def _against_serving(gate: Gate, table: Evaluation, score: float, serving: str | None) -> Iterator[Bound]:
    if serving is None or gate.against_serving is AgainstServing.IGNORE:
        return
    compared = table.serving_comparison
    known = compared is not None and compared.hash == serving and compared.p_value is not None
    if not known or compared is None or table.serving is None:
        problem = compared.problem if compared and compared.hash == serving else None
        yield False, _not_compared(serving, problem)
        return
    yield _compared(gate.against_serving, score, table.serving.score, compared)


def _compared(wanted: AgainstServing, score: float, other: float, compared: ServingComparison) -> Bound:
    differs = compared.p_value is not None and compared.p_value < SIGNIFICANT
    worse, better = differs and score < other, differs and score > other
    met = better if wanted is AgainstServing.BETTER else not worse
    word = "better" if wanted is AgainstServing.BETTER or better else "worse"
    negation = "" if (better if word == "better" else worse) else "not "
    figures = f"{score:g} against {other:g}, p = {compared.p_value:g}"
    return met, f"{negation}significantly {word} than the student that is served, {compared.hash} ({figures})"


def _not_compared(serving: str, problem: str | None) -> str:
    why = f": {problem}; restore it and retry, or" if problem else ";"
    return (
        f"not compared with the student that is served, {serving}{why} set evaluation.gate.againstServing to Ignore to"
        " do without a comparison"
    )


def _lower_bound(figures: str, value: float, name: str, least: float) -> Bound:
    met = round(value - least, _DECIMALS) >= 0
    return met, f"{figures} is {'at least' if met else 'below'} {name} {least:g}"
