"""What a verdict is found from: the student beside every other system, its answers, and how it was trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from distillery_api.evaluation import LearningCurve
from distillery_api.run_config import RunConfig
from distillery_api.spec import Training
from distillery_api.stage import Stage
from distillery_api.stage_result import EpochLosses, StageResult
from distillery_trainer.evaluation import scores
from distillery_trainer.evaluation.paired_comparison import PairedComparison, compare
from distillery_trainer.evaluation.systems import HeldOutRows, ScoredAnswer, System
from distillery_trainer.student.chosen_settings import as_trained
from distillery_trainer.tasks import TaskDefinition

_NEARLY_ALL = 0.95
_NOT_BY_CHANCE = 0.1
"""How much more often than the references a student gives its one answer, before that is called constant."""
_REPEATED = 5
"""Rows for each different answer, from which on answers are taken for classes."""

Answers = Mapping[System, Sequence[ScoredAnswer]]


@dataclass(frozen=True)
class TrainedOn:
    """How the student was trained."""

    rows: int
    """Number of training rows with a readable answer."""
    answers: Mapping[str, int] = field(default_factory=dict)
    """How often each answer occurs in them; empty where answers do not repeat, so that they are no classes."""
    steps: int | None = None
    """Optimiser steps; None where the train stage's result is missing."""
    planned_steps: int | None = None
    """Steps of all epochs, where `maxDuration` ended the training sooner."""
    max_duration: str | None = None
    """As the manifest says."""
    losses: Sequence[EpochLosses] = ()
    """By epoch, in order; empty where an earlier release trained the student."""
    epochs: int = 1
    """As the manifest says, or as was chosen, and so are those below."""
    learning_rate: float = 0.0
    rank: int | None = None
    """Of the adapters; None where all weights were trained."""
    searched: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """The values of training.search, by the names of its lists."""
    learning_curve: LearningCurve | None = None
    """What fewer rows give; None where it was not asked for."""


NOT_KNOWN = TrainedOn(rows=0)


@dataclass(frozen=True)
class Findings:
    """What is known of a student when it is evaluated. All comparisons are on the same held-out rows."""

    rows: int
    """Number of held-out rows."""
    scores: Mapping[System, float]
    against: Mapping[System, PairedComparison]
    """The student compared with each other system; with the teacher only where rows have gold."""
    teacher_against_baseline: PairedComparison | None = None
    """The teacher compared with the best baseline; None without either."""
    right_or_wrong: bool = True
    """Whether an answer is right or wrong, so that a score below 0.5 means mostly wrong; false for prose."""
    unreadable: float = 0.0
    """Share of the student's replies without a readable answer."""
    cut_off: float = 0.0
    """Share of the student's replies that reached the maximum length."""
    constant: str | None = None
    """The answer that the student gives to nearly every row; None if it tells rows apart."""
    gap_closed: float | None = None
    """Of the gap between base model and teacher."""
    trained_on: TrainedOn = NOT_KNOWN

    @property
    def best_baseline(self) -> System | None:
        """The baseline with the highest score."""
        return self._best([system for system in self.against if not system.is_language_model])

    @property
    def best_base(self) -> System | None:
        """The base model under the prompt that it scores higher with; the student prompt where both are the same."""
        return self._best([system for system in (System.BASE, System.BASE_TEACHER_PROMPT) if system in self.against])

    def _best(self, systems: Sequence[System]) -> System | None:
        return max(systems, key=lambda system: self.scores[system]) if systems else None

    @property
    def beats_baselines(self) -> bool:
        """Whether the student is significantly better than every baseline, and tells rows apart."""
        best = self.best_baseline
        return self.constant is None and (best is None or self.against[best].is_better)


def findings(
    task: TaskDefinition,
    answers: Answers,
    rows: HeldOutRows,
    trained_on: TrainedOn,
    *,
    gap_closed: float | None = None,
    table: Mapping[System, float] | None = None,
) -> Findings:
    """What the answers of all systems say about the student.

    The scores are those of the result table, where one of all rows together is not the mean of the rows' own.
    """
    compared = [system for system in answers if system not in (System.STUDENT, System.SERVING)]
    if rows.measures_agreement:
        compared.remove(System.TEACHER)
    student = answers[System.STUDENT]
    values = {system: [scored.score for scored in answers[system]] for system in (*compared, System.STUDENT)}
    found = Findings(
        rows=len(rows.rows),
        scores={**{system: sum(each) / len(each) for system, each in values.items()}, **(table or {})},
        against={system: compare(values[System.STUDENT], values[system]) for system in compared},
        right_or_wrong=not task.answer_kind.is_partly_right,
        unreadable=scores.share([scored.answer is None for scored in student]),
        cut_off=scores.share([not scored.reply.finished for scored in student]),
        constant=_constant_answer(task, student, rows),
        gap_closed=gap_closed,
        trained_on=trained_on,
    )
    best = found.best_baseline
    if best is None or rows.measures_agreement:
        return found
    return replace(found, teacher_against_baseline=compare(values[System.TEACHER], values[best]))


def _constant_answer(task: TaskDefinition, student: Sequence[ScoredAnswer], rows: HeldOutRows) -> str | None:
    """The answer of nearly all rows, unless the references are as uniform."""
    readable = [scored.answer for scored in student if scored.answer is not None]
    if not readable:
        return None
    key, count = Counter(map(task.vote_key, readable)).most_common(1)[0]
    answer = next(each for each in readable if task.vote_key(each) == key)
    share = count / len(readable)
    if share < _NEARLY_ALL:
        return None
    expected = scores.share([task.correct(answer, reference) for reference in rows.references])
    is_constant = expected < 1 if share == 1 else share - expected >= _NOT_BY_CHANCE
    return answer if is_constant else None


def train_result(config: RunConfig) -> StageResult | None:
    """The result of the train stage; None where it cannot be read, so that less is known of the training."""
    try:
        return StageResult.model_validate_json(config.input_folder(Stage.TRAIN).result.read_bytes())
    except (OSError, ValueError):
        return None


def trained_on(training: Training, result: StageResult | None, answers: Sequence[str]) -> TrainedOn:
    """How the student was trained: the manifest, the train stage's result, and the answers of the training rows."""
    counts = Counter(answers)
    figures = result.training if result else None
    given = as_trained(training, figures.settings if figures else None)
    return TrainedOn(
        rows=len(answers),
        answers=dict(counts.most_common()) if len(counts) * _REPEATED <= len(answers) else {},
        steps=figures.steps if figures else None,
        planned_steps=figures.planned_steps if figures else None,
        max_duration=training.max_duration,
        losses=figures.losses if figures else (),
        epochs=given.epochs or 1,
        learning_rate=given.learning_rate or 0.0,
        rank=given.lora.rank if given.method.trains_adapters else None,
        searched=training.search.given if training.search else {},
    )
