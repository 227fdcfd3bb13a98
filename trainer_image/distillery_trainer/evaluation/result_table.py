"""Everybody's answers -> the result table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distillery_api.evaluation import Evaluation, Score
from distillery_trainer.data.records import known_answers
from distillery_trainer.evaluation import scores
from distillery_trainer.evaluation.systems import Answer, HeldOutRows, System
from distillery_trainer.tasks import TaskDefinition
from distillery_trainer.tasks.task_definition import AnswerKind
from distillery_trainer.text import entities, faithfulness, rouge
from distillery_trainer.text.words import word_count

Figures = dict[str, float | None]


@dataclass(frozen=True)
class EvaluationContext:
    """What must be known of a run to read its table rightly."""

    device: str
    """What the latencies were measured on."""
    partly_supervised: bool = False
    """Whether training rows were chosen by their gold."""
    judge: str | None = None
    """The model that compared answers with the known ones."""
    wins: Mapping[System, Sequence[float]] = field(default_factory=dict)
    """For each contestant that was judged and each row: 1 where its answer is the better one, 0.5 for a tie, else 0."""


def result_table(
    task: TaskDefinition, answers: dict[System, list[Answer]], rows: HeldOutRows, run: EvaluationContext
) -> Evaluation:
    """The result table from everybody's answers."""
    shown = {name: _score(name, task, given, rows, run) for name, given in answers.items()}
    if rows.by_teacher:
        del shown[System.TEACHER]
    return Evaluation(
        metric=rows.metric,
        sample_size=len(rows.rows),
        held_out_from_validation=rows.from_validation,
        partly_supervised=run.partly_supervised,
        **{_FIELDS[name]: row for name, row in shown.items()},
        **_comparison(shown),
        p_value=_p_value(task, answers[System.STUDENT], answers[System.BASE]),
        judge=run.judge,
        device=run.device,
    )


_FIELDS = {System.BASE_TEACHER_PROMPT: "base_teacher_prompt"} | {
    name: name.value for name in System if name is not System.BASE_TEACHER_PROMPT
}


def _comparison(shown: dict[System, Score]) -> dict[str, Any]:
    base_teacher_prompt, student = shown[System.BASE_TEACHER_PROMPT].score, shown[System.STUDENT].score
    gain = scores.relative_gain(base_teacher_prompt=base_teacher_prompt, student=student)
    teacher = shown.get(System.TEACHER)
    gap = None
    if teacher is not None:
        gap = scores.gap_closed(teacher=teacher.score, base_teacher_prompt=base_teacher_prompt, student=student)
    return {"relative_gain": _rounded(gain), "gap_closed": _rounded(gap)}


def _p_value(task: TaskDefinition, student: Sequence[Answer], base: Sequence[Answer]) -> float:
    if task.answer_kind.is_prose:
        value = scores.paired_bootstrap_p(_scores(student), _scores(base))
    else:
        value = scores.mcnemar_p(_right(student), _right(base))
    return float(f"{value:.3g}")


# --- one row


def _score(
    name: System, task: TaskDefinition, answers: Sequence[Answer], rows: HeldOutRows, run: EvaluationContext
) -> Score:
    figures = _figures_of_prose(task, answers, rows) if task.answer_kind.is_prose else _figures_of_shares(answers)
    if task.answer_kind is AnswerKind.LABEL:
        figures |= {"macro_f1": _macro_f1(task, answers, rows)}
    if name.writes:
        figures |= _figures_of_replies(answers)
    if name.writes and not task.answer_kind.is_prose:
        figures |= {"strict": None if _asks_for_json(name, task) else _strict(answers)}
    figures |= {"win_rate": scores.mean(run.wins.get(name, []))}
    return Score.model_validate({field: _rounded(value) for field, value in figures.items()})


def _figures_of_shares(answers: Sequence[Answer]) -> Figures:
    right = _right(answers)
    low, high = scores.wilson_interval(sum(right), len(right))
    return {"score": scores.share(right), "low": low, "high": high}


def _macro_f1(task: TaskDefinition, answers: Sequence[Answer], rows: HeldOutRows) -> float | None:
    """None where the labels differ from row to row: the letters of options mean nothing by themselves."""
    if not task.labels:
        return None
    known = [[label for label in task.labels if task.correct(label, gold)] for gold in rows.known]
    # Where several labels are right, the one that was given counts as the row's own.
    own = [given.answer if given.answer in right else right[0] for given, right in zip(answers, known, strict=True)]
    return scores.macro_f1([str(label) for label in own], [given.answer for given in answers], task.labels)


def _asks_for_json(name: System, task: TaskDefinition) -> bool:
    return name in (System.TEACHER, System.BASE_TEACHER_PROMPT) and task.reply_schema() is not None


def _strict(answers: Sequence[Answer]) -> float:
    return scores.share([given.correct and (given.reply.text or "").strip() == given.answer for given in answers])


def _figures_of_replies(answers: Sequence[Answer]) -> Figures:
    replies = [given.reply for given in answers]
    return {
        "unreadable": scores.share([given.answer is None for given in answers]),
        "prompt_tokens": scores.mean([reply.prompt_tokens for reply in replies]),
        "answer_tokens": scores.mean([reply.answer_tokens for reply in replies]),
        "latency_seconds": scores.middle([reply.latency_seconds for reply in replies]),
        "perplexity": scores.perplexity(
            (reply.teacher_loss, reply.teacher_tokens) for reply in replies if reply.teacher_loss is not None
        ),
    }


# --- prose


def _figures_of_prose(task: TaskDefinition, answers: Sequence[Answer], rows: HeldOutRows) -> Figures:
    values = _scores(answers)
    low, high = scores.bootstrap_interval(values) or (None, None)
    said = [(given.answer, row) for row, given in enumerate(answers) if given.answer is not None]
    alike = [rouge.scores(text, known_answers(rows.known[row])) for text, row in said]
    figures: Figures = {
        "score": scores.mean(values),
        "low": low,
        "high": high,
        "rouge1": sum(each.rouge1 for each in alike) / len(answers),
        "rouge2": sum(each.rouge2 for each in alike) / len(answers),
        "words": scores.mean([word_count(text) for text, _ in said]),
    }
    if task.answer_kind is AnswerKind.SUMMARY:
        questions = rows.questions
        figures |= _figures_of_summaries([(text, questions[row]) for text, row in said])
    return figures


def _figures_of_summaries(said: Sequence[tuple[str, str]]) -> Figures:
    """`said` are summaries with their sources."""
    invented = [bool(faithfulness.numbers_not_in_source(summary, source)) for summary, source in said]
    return {
        "entity_density": scores.mean([entities.density(summary) for summary, _ in said]),
        "faithfulness": scores.mean([faithfulness.supported_share(summary, source) for summary, source in said]),
        "invented_numbers": scores.share(invented) if invented else None,
    }


def _scores(answers: Sequence[Answer]) -> list[float]:
    return [given.score for given in answers]


def _right(answers: Sequence[Answer]) -> list[bool]:
    return [given.correct for given in answers]


def _rounded(value: float | None) -> float | None:
    # The table travels in a termination message of 2 KiB: four digits are more than the intervals allow.
    return None if value is None else float(f"{value:.4g}")
