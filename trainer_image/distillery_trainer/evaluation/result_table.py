"""Makes the result table from the scored answers of all systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from distillery_api.evaluation import Evaluation, Score
from distillery_trainer.evaluation import scores
from distillery_trainer.evaluation.findings import NOT_KNOWN, TrainedOn, findings
from distillery_trainer.evaluation.metrics import figures
from distillery_trainer.evaluation.systems import HeldOutRows, ScoredAnswer, System
from distillery_trainer.evaluation.verdict import verdict
from distillery_trainer.tasks import AnswerKind, TaskDefinition

Metrics = dict[str, float | None]


@dataclass(frozen=True)
class EvaluationContext:
    """What the table states beside the scores."""

    device: str
    """The device on which latencies were measured."""
    precision: str
    """The arithmetic in which base model and student answered, such as bfloat16."""
    partly_supervised: bool = False
    """Whether training rows were selected by their gold."""
    trained_on: TrainedOn = NOT_KNOWN
    """How the student was trained; a verdict names its next step by it."""
    judge: str | None = None
    """The model that compared answers with the references."""
    wins: Mapping[System, Sequence[float]] = field(default_factory=dict)
    """For each judged system and each row: 1 if its answer is better than the reference, 0.5 for a tie, else 0."""


def result_table(
    task: TaskDefinition, answers: dict[System, list[ScoredAnswer]], rows: HeldOutRows, context: EvaluationContext
) -> Evaluation:
    """The result table from the answers of all systems."""
    table = {system: _score(system, task, scored, rows, context) for system, scored in answers.items()}
    if rows.measures_agreement:
        del table[System.TEACHER]
    gap = _gap_closed(table)
    table_scores = {system: score.score for system, score in table.items()}
    found = findings(task, answers, rows, context.trained_on, gap_closed=gap, table=table_scores)
    return Evaluation(
        metric=rows.metric,
        sample_size=len(rows.rows),
        held_out_from_validation=rows.from_validation,
        partly_supervised=context.partly_supervised,
        **{_FIELDS[system]: score for system, score in table.items()},
        gap_closed=gap if found.beats_baselines else None,
        relative_gain=_relative_gain(table),
        p_value=paired_p_value(task, answers[System.STUDENT], answers[System.BASE]),
        learning_curve=context.trained_on.learning_curve,
        verdict=verdict(found),
        judge=context.judge,
        device=context.device,
        precision=context.precision,
    )


_FIELDS = {System.BASE_TEACHER_PROMPT: "base_teacher_prompt"} | {
    system: system.value for system in System if system is not System.BASE_TEACHER_PROMPT
}


def _relative_gain(table: dict[System, Score]) -> float | None:
    base_teacher_prompt, student = table[System.BASE_TEACHER_PROMPT].score, table[System.STUDENT].score
    return _rounded(scores.relative_gain(base_teacher_prompt=base_teacher_prompt, student=student))


def _gap_closed(table: dict[System, Score]) -> float | None:
    teacher, base, student = table.get(System.TEACHER), table[System.BASE_TEACHER_PROMPT], table[System.STUDENT]
    if teacher is None:
        return None
    return _rounded(scores.gap_closed(teacher=teacher.score, base_teacher_prompt=base.score, student=student.score))


def paired_p_value(task: TaskDefinition, student: Sequence[ScoredAnswer], other: Sequence[ScoredAnswer]) -> float:
    """The p-value of the difference between two systems on the same rows: McNemar's exact test for labels and numbers,
    a paired bootstrap for answers that may be partly right."""
    if task.answer_kind.is_partly_right:
        value = scores.paired_bootstrap_p(_scores(student), _scores(other))
    else:
        value = scores.mcnemar_p(_correct(student), _correct(other))
    return float(f"{value:.3g}")


# --- one system


def _score(
    system: System,
    task: TaskDefinition,
    answers: Sequence[ScoredAnswer],
    rows: HeldOutRows,
    context: EvaluationContext,
) -> Score:
    metrics: Metrics = dict(figures(task, answers, rows))
    if system.is_language_model:
        metrics |= _reply_metrics(answers)
    if system.is_language_model and not task.answer_kind.is_prose and task.answer_kind is not AnswerKind.CALLS:
        metrics |= {"strict": None if _asks_for_json(system, task) else _strict_accuracy(answers)}
    metrics |= {"win_rate": scores.mean(context.wins.get(system, []))}
    return Score.model_validate({name: _rounded(value) for name, value in metrics.items()})


def _asks_for_json(system: System, task: TaskDefinition) -> bool:
    return system in (System.TEACHER, System.BASE_TEACHER_PROMPT) and task.reply_schema() is not None


def _strict_accuracy(answers: Sequence[ScoredAnswer]) -> float:
    """Share of the replies that are a correct answer and nothing else."""
    return scores.share([scored.correct and (scored.reply.text or "").strip() == scored.answer for scored in answers])


def _reply_metrics(answers: Sequence[ScoredAnswer]) -> Metrics:
    replies = [scored.reply for scored in answers]
    return {
        "unreadable": scores.share([scored.answer is None for scored in answers]),
        "prompt_tokens": scores.mean([reply.prompt_tokens for reply in replies]),
        "answer_tokens": scores.mean([reply.answer_tokens for reply in replies]),
        "latency_seconds": scores.median([reply.latency_seconds for reply in replies]),
        "perplexity": scores.perplexity(
            (reply.teacher_loss, reply.teacher_tokens) for reply in replies if reply.teacher_loss is not None
        ),
    }


def _scores(answers: Sequence[ScoredAnswer]) -> list[float]:
    return [scored.score for scored in answers]


def _correct(answers: Sequence[ScoredAnswer]) -> list[bool]:
    return [scored.correct for scored in answers]


def _rounded(value: float | None) -> float | None:
    # The table is part of a termination message of 2 KiB, and the intervals are wider than four digits.
    return None if value is None else float(f"{value:.4g}")
