"""Who stands in the result table, what each answered, and how that becomes a row of it.

No model is needed here: replies come in as text, the same parser reads all of them, and a reply that is missing, cut
off or unreadable is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from distillery_api.result import Evaluation, Score
from distillery_trainer.prompts import TaskPrompt, Unreadable
from distillery_trainer.records import HeldOutRow
from distillery_trainer.scoring import scores


class Contestant(StrEnum):
    """The rows of the table, in order."""

    TEACHER = "teacher"
    BASE_ELABORATE = "baseElaborate"
    BASE = "base"
    STUDENT = "student"
    MAJORITY = "majority"
    SHALLOW = "shallow"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The rows that everybody answers, and what counts as right."""

    metric: str
    """accuracy where the rows have gold; agreement (with the teacher) where they have none."""
    rows: Sequence[HeldOutRow]
    known: Sequence[str | list[str]]
    """For each row its gold, or the teacher's answer."""
    left_out: int
    """Rows that nobody can be measured on: without gold beside rows with it, or not answered by the teacher either."""

    @property
    def carved(self) -> bool:
        """Whether the rows were taken from the validation split."""
        return any(row.carved for row in self.rows)


def held_out(rows: Sequence[HeldOutRow]) -> HeldOut:
    """The rows to measure on: those with gold, or, where there are none, those that the teacher answered."""
    with_gold = [row for row in rows if row.gold is not None]
    if with_gold:
        known = [row.gold for row in with_gold if row.gold is not None]
        return HeldOut("accuracy", with_gold, known, len(rows) - len(with_gold))
    answered = [row for row in rows if row.answer is not None]
    known_answers: list[str | list[str]] = [row.answer for row in answered if row.answer is not None]
    return HeldOut("agreement", answered, known_answers, len(rows) - len(answered))


@dataclass(frozen=True, slots=True)
class Reply:
    """What one contestant said to one row."""

    text: str | None
    """None where there is none."""
    finished: bool = True
    """False where the reply was cut off at its limit."""
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    latency_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply as it was read and judged."""

    reply: Reply
    answer: str | None
    """None where there is no readable one."""
    correct: bool


Judge = Callable[[str, str | list[str]], bool]


def read(prompt: TaskPrompt, replies: Sequence[Reply], rows: HeldOut) -> list[Answer]:
    """Read and judge replies, one for each row."""
    return [
        _judged(prompt, reply, _readable(prompt, reply, row), gold)
        for reply, row, gold in zip(replies, rows.rows, rows.known, strict=True)
    ]


def _readable(prompt: TaskPrompt, reply: Reply, row: HeldOutRow) -> str | None:
    if reply.text is None or not reply.finished:
        return None
    answer = prompt.read_reply(reply.text, row.short[-1]["content"])
    return None if isinstance(answer, Unreadable) else answer


def _judged(prompt: TaskPrompt, reply: Reply, answer: str | None, gold: str | list[str]) -> Answer:
    return Answer(reply, answer, answer is not None and prompt.correct(answer, gold))


def teacher_answers(prompt: TaskPrompt, rows: HeldOut) -> list[Answer]:
    """What the teacher said in the generate stage, as it was read there."""
    return [
        _judged(
            prompt,
            Reply(row.reply, row.answer is not None, row.inputTokens, row.outputTokens, row.latencySeconds),
            row.answer,
            gold,
        )
        for row, gold in zip(rows.rows, rows.known, strict=True)
    ]


def baseline_answers(prompt: TaskPrompt, guesses: Sequence[str], rows: HeldOut) -> list[Answer]:
    """The guesses of a baseline that writes no text."""
    return [_judged(prompt, Reply(None), guess, gold) for guess, gold in zip(guesses, rows.known, strict=True)]


# --- the table


def table(
    prompt: TaskPrompt, answers: dict[Contestant, list[Answer]], rows: HeldOut, labels: Sequence[str], device: str
) -> Evaluation:
    """The result table from everybody's answers."""
    gold = [_labels_of(prompt, known, labels) for known in rows.known]
    shown = {name: score(name, given, gold, labels, prompt) for name, given in answers.items()}
    if rows.metric == "agreement":
        del shown[Contestant.TEACHER]
    student, base = answers[Contestant.STUDENT], answers[Contestant.BASE]
    return Evaluation(
        metric=rows.metric,
        sample_size=len(rows.rows),
        carved_from_validation=rows.carved,
        **{_FIELDS[name]: row for name, row in shown.items()},
        **_comparison(shown),
        p_value=float(f"{scores.mcnemar_p(_right(student), _right(base)):.3g}"),
        device=device,
    )


_FIELDS = {Contestant.BASE_ELABORATE: "base_elaborate"} | {
    name: name.value for name in Contestant if name is not Contestant.BASE_ELABORATE
}


def _comparison(shown: dict[Contestant, Score]) -> dict[str, Any]:
    base_elaborate, student = shown[Contestant.BASE_ELABORATE].score, shown[Contestant.STUDENT].score
    gain = scores.relative_gain(base_elaborate=base_elaborate, student=student)
    teacher = shown.get(Contestant.TEACHER)
    gap = None
    if teacher is not None:
        gap = scores.gap_closed(teacher=teacher.score, base_elaborate=base_elaborate, student=student)
    return {"relative_gain": _rounded(gain), "gap_closed": _rounded(gap)}


def score(
    name: Contestant, answers: Sequence[Answer], gold: Sequence[list[str]], labels: Sequence[str], prompt: TaskPrompt
) -> Score:
    """One row of the table. `gold` are the labels that are right for each row."""
    right = _right(answers)
    low, high = scores.wilson_interval(sum(right), len(right))
    # Where several labels are right, the one that was given counts as the row's own.
    own = [given.answer if given.answer in known else known[0] for given, known in zip(answers, gold, strict=True)]
    figures: dict[str, float | None] = {
        "score": scores.accuracy(right),
        "low": low,
        "high": high,
        "macro_f1": scores.macro_f1([str(label) for label in own], [given.answer for given in answers], labels),
    }
    if name not in (Contestant.MAJORITY, Contestant.SHALLOW):
        figures |= _figures_of_text(answers, gold, exact=not _asks_for_json(name, prompt))
    return Score.model_validate({field: _rounded(value) for field, value in figures.items()})


def _asks_for_json(name: Contestant, prompt: TaskPrompt) -> bool:
    return name in (Contestant.TEACHER, Contestant.BASE_ELABORATE) and prompt.reply_schema() is not None


def _figures_of_text(answers: Sequence[Answer], gold: Sequence[list[str]], *, exact: bool) -> dict[str, float | None]:
    replies = [given.reply for given in answers]
    strict = [(reply.text or "").strip() in known for reply, known in zip(replies, gold, strict=True)]
    return {
        "strict": scores.accuracy(strict) if exact else None,
        "unreadable": scores.accuracy([given.answer is None for given in answers]),
        "prompt_tokens": scores.mean([reply.prompt_tokens for reply in replies]),
        "answer_tokens": scores.mean([reply.answer_tokens for reply in replies]),
        "latency_seconds": scores.middle([reply.latency_seconds for reply in replies]),
    }


def _right(answers: Sequence[Answer]) -> list[bool]:
    return [given.correct for given in answers]


def _labels_of(prompt: TaskPrompt, known: str | list[str], labels: Sequence[str]) -> list[str]:
    return [label for label in labels if prompt.correct(label, known)]


def _rounded(value: float | None) -> float | None:
    # The table travels in a termination message of 2 KiB.
    return None if value is None else round(value, 4)
