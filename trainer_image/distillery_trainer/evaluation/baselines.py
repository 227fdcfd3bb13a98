"""What can be had without a language model. A student that does no better has learnt nothing worth its cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distillery_trainer.evaluation import scores
from distillery_trainer.evaluation.systems import Answer, HeldOutRows, System, baseline_answers
from distillery_trainer.runtime.files import read_rows
from distillery_trainer.tasks import TaskDefinition, Unreadable
from distillery_trainer.tasks.summarization import SUMMARY_WORDS
from distillery_trainer.tasks.task_definition import AnswerKind
from distillery_trainer.text.words import word_count


def baselines_answer(task: TaskDefinition, rows: HeldOutRows, training_rows: Path) -> dict[System, list[Answer]]:
    """The answers of the baselines that make sense for the task. `training_rows` is what the student learnt from."""
    guess = {AnswerKind.LABEL: _labels, AnswerKind.NUMBER: _numbers, AnswerKind.SUMMARY: _leads}.get(task.answer_kind)
    guesses = guess(task, rows, training_rows) if guess else {}
    return {name: baseline_answers(task, guessed, rows) for name, guessed in guesses.items()}


Guesses = dict[System, list[str]]


def _labels(task: TaskDefinition, rows: HeldOutRows, training_rows: Path) -> Guesses:
    learnt = list(_learnt(task, training_rows))
    texts, answers = [row.question for row in learnt], [row.answer for row in learnt]
    return {
        System.MAJORITY: _majority(answers, rows),
        System.SHALLOW: scores.shallow_answers(texts, answers, rows.questions),
    }


def _numbers(task: TaskDefinition, rows: HeldOutRows, training_rows: Path) -> Guesses:
    return {System.MAJORITY: _majority([row.answer for row in _learnt(task, training_rows)], rows)}


def _leads(task: TaskDefinition, rows: HeldOutRows, _: Path) -> Guesses:
    words = task.generation.max_summary_words or SUMMARY_WORDS
    return {System.LEAD: [lead(question, words) for question in rows.questions]}


def _majority(answers: list[str], rows: HeldOutRows) -> list[str]:
    return [scores.majority(answers)] * len(rows.rows)


@dataclass(frozen=True, slots=True)
class _Learnt:
    """A row that the student was trained on."""

    question: str
    answer: str


def _learnt(task: TaskDefinition, path: Path) -> Iterator[_Learnt]:
    """The training rows, thoughts that the student may have learnt with them aside."""
    for row in read_rows(path):
        question, completion = row["prompt"][-1]["content"], row["completion"][-1]["content"]
        answer = task.read_answer(completion, question)
        if not isinstance(answer, Unreadable):
            yield _Learnt(question, answer)


def lead(text: str, words: int) -> str:
    """The beginning of a text, at most so many words of it."""
    taken = []
    for piece in text.split():
        length = word_count(piece)
        if length > words:  # in a script without spaces, where a letter is a word
            taken.append(piece[:words])
            break
        taken.append(piece)
        words -= length
    return " ".join(part for part in taken if part)
