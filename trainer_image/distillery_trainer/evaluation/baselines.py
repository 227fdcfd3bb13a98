"""Baselines that need no language model. A student that is no better than they are has learned nothing worth its
cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distillery_trainer.data.rows import reply_of
from distillery_trainer.evaluation import scores
from distillery_trainer.evaluation.systems import HeldOutRows, ScoredAnswer, System, score_baseline
from distillery_trainer.runtime.files import read_rows
from distillery_trainer.runtime.row_errors import ENDS_STAGE, RowErrors
from distillery_trainer.tasks import MultiLabelTask, TaskDefinition, Unreadable
from distillery_trainer.tasks.summarization import SUMMARY_WORDS
from distillery_trainer.tasks.task_definition import AnswerKind
from distillery_trainer.text.words import word_count

BaselineAnswers = dict[System, list[str]]


def score_baselines(task: TaskDefinition, rows: HeldOutRows, training_rows: Path) -> dict[System, list[ScoredAnswer]]:
    """Score the baselines that make sense for the task. `training_rows` is the file that the student was trained on."""
    baselines = {
        AnswerKind.LABEL: _label_baselines,
        AnswerKind.LABELS: _label_set_baselines,
        AnswerKind.NUMBER: _majority_baseline,
        AnswerKind.OBJECT: _majority_baseline,
        AnswerKind.SUMMARY: _summary_baselines,
        AnswerKind.TEXT: _text_baselines,
        AnswerKind.CALLS: _call_baselines,
    }.get(task.answer_kind)
    answers = baselines(task, rows, training_rows) if baselines else {}
    return {system: score_baseline(task, system_answers, rows) for system, system_answers in answers.items()}


def _label_baselines(task: TaskDefinition, rows: HeldOutRows, training_rows: Path) -> BaselineAnswers:
    training = list(learned_rows(task, training_rows))
    texts, answers = [row.text for row in training], [row.answer for row in training]
    return {
        System.MAJORITY: _majority(answers, rows),
        System.SHALLOW: scores.shallow_answers(texts, answers, rows.row_texts),
    }


def _label_set_baselines(task: TaskDefinition, rows: HeldOutRows, training_rows: Path) -> BaselineAnswers:
    if not isinstance(task, MultiLabelTask):
        raise TypeError(f"the answers of {task.task} are no sets of labels")
    training = list(learned_rows(task, training_rows))
    texts, sets = [row.text for row in training], [task.labels_in(row.answer) for row in training]
    given = {label: [label in labels for labels in sets] for label in task.labels}
    found = scores.shallow_label_sets(texts, given, rows.row_texts)
    return {
        System.MAJORITY: _majority([row.answer for row in training], rows),
        System.SHALLOW: [task.written(labels) for labels in found],
    }


def _majority_baseline(task: TaskDefinition, rows: HeldOutRows, training_rows: Path) -> BaselineAnswers:
    return {System.MAJORITY: _majority([row.answer for row in learned_rows(task, training_rows)], rows)}


def _call_baselines(task: TaskDefinition, rows: HeldOutRows, training_rows: Path) -> BaselineAnswers:
    """The most frequent calls; all answers in words count as one."""
    answers = [row.answer for row in learned_rows(task, training_rows)]
    by_key, keys = {task.vote_key(answer): answer for answer in answers}, [task.vote_key(answer) for answer in answers]
    return {System.MAJORITY: [by_key[scores.majority(keys)]] * len(rows.rows)}


def _summary_baselines(task: TaskDefinition, rows: HeldOutRows, _: Path) -> BaselineAnswers:
    words = task.generation.max_summary_words or SUMMARY_WORDS
    return {System.LEAD: [lead(text, words) for text in rows.row_texts]}


def _text_baselines(_task: TaskDefinition, rows: HeldOutRows, _: Path) -> BaselineAnswers:
    return {System.COPIED: rows.row_texts}


def _majority(answers: list[str], rows: HeldOutRows) -> list[str]:
    return [scores.majority(answers)] * len(rows.rows)


@dataclass(frozen=True, slots=True)
class LearnedRow:
    """A row that the student was trained on."""

    text: str
    answer: str


def learned_rows(task: TaskDefinition, path: Path) -> Iterator[LearnedRow]:
    """The training rows, without reasoning that the student may have learned with them."""
    errors = RowErrors()
    for row in read_rows(path):
        try:
            text, completion = row["prompt"][-1]["content"], reply_of(row["completion"][-1])
            answer = task.read_answer(completion, text)
        except ENDS_STAGE:
            raise
        except Exception as error:  # noqa: BLE001 - it is about this row alone
            errors.message(str(row.get("id")), error)
            continue
        if not isinstance(answer, Unreadable):
            yield LearnedRow(text, answer)


def lead(text: str, words: int) -> str:
    """The beginning of a text, at most `words` words long."""
    taken = []
    for piece in text.split():
        length = word_count(piece)
        if length > words:  # in a script without spaces, each letter counts as a word
            taken.append(piece[:words])
            break
        taken.append(piece)
        words -= length
    return " ".join(part for part in taken if part)
