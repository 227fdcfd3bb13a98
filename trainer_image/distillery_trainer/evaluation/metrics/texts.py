"""Answers in prose, SQL or code to any instruction: chrF, BLEU, ROUGE-L, exact matches and length."""

from __future__ import annotations

from collections.abc import Sequence

from distillery_trainer.data.rows import known_answers
from distillery_trainer.evaluation import scores
from distillery_trainer.evaluation.metrics import prose
from distillery_trainer.evaluation.systems import HeldOutRows, ScoredAnswer
from distillery_trainer.tasks import TaskDefinition
from distillery_trainer.text import chrf_and_bleu, rouge
from distillery_trainer.text.words import word_count


def figures(task: TaskDefinition, answers: Sequence[ScoredAnswer], rows: HeldOutRows) -> dict[str, float | None]:
    """The mean score with its bootstrap interval, and the figures of all answers together. An unreadable answer is an
    empty one."""
    values = [scored.score for scored in answers]
    low, high = scores.bootstrap_interval(values) or (None, None)
    texts = [scored.answer or "" for scored in answers]
    references = [known_answers(reference) for reference in rows.references]
    return {
        "score": scores.mean(values),
        "low": low,
        "high": high,
        "chrf": chrf_and_bleu.corpus_chrf(texts, references),
        "bleu": chrf_and_bleu.corpus_bleu(texts, references),
        "rouge_l": scores.mean([rouge.scores(*pair).rougeL for pair in zip(texts, references, strict=True)]),
        "exact": scores.share([task.correct(*pair) for pair in zip(texts, rows.references, strict=True)]),
        "words": scores.mean([word_count(text) for text, _ in prose.readable(answers)]),
    }
