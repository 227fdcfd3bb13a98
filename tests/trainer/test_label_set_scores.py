"""Figures of answers with any number of labels, and their baselines."""

import json

import pytest

from distillery_trainer.evaluation import scores
from distillery_trainer.evaluation.baselines import score_baselines
from distillery_trainer.evaluation.metrics import breakdown, figures
from distillery_trainer.evaluation.systems import System, SystemReply, held_out_rows, score_replies
from distillery_trainer.tasks import task_for
from held_out_rows import evaluate_config, held_out

LABELS = ["price", "service", "food"]
DATA = {"train": {"uri": "t.jsonl"}, "validation": {"uri": "v.jsonl"}, "labels": LABELS, "multiLabel": True}
TASK = task_for(evaluate_config("Classification", LABELS, data=DATA))


def scored(gold, replies):
    rows = held_out_rows([held_out(f"row {n}", gold=labels) for n, labels in enumerate(gold)], "accuracy")
    return rows, score_replies(TASK, [SystemReply(text) for text in replies], rows)


def test_figures_are_exact_sets_and_f1():
    rows, answers = scored(["price, service", "price", "none", ["food"]], ["service, price", "none", "none", "?"])
    found = figures(TASK, answers, rows)
    assert found["score"] == 0.5
    # Of four labels, the two answered ones are right: 2 * 2 / (4 + 2).
    assert found["micro_f1"] == pytest.approx(2 / 3)
    # price 2/3, service 1, food 0.
    assert found["macro_f1"] == pytest.approx(5 / 9, abs=1e-4)


def test_rows_without_any_label_have_no_f1():
    rows, answers = scored(["none"], ["none"])
    found = figures(TASK, answers, rows)
    assert (found["score"], found["micro_f1"], found["macro_f1"]) == (1.0, None, None)


def test_each_label_has_its_figures_and_there_is_no_confusion_matrix():
    rows, answers = scored(["price, service", "price"], ["price", "price, food"])
    found = breakdown(TASK, {System.STUDENT: answers}, rows)
    assert found.part == "class"
    assert found.systems["student"].confusion is None
    assert [(part.name, part.rows, part.precision, part.recall) for part in found.systems["student"].parts] == [
        ("price", 2, 1.0, 1.0),
        ("service", 1, 0.0, 0.0),
        ("food", 0, 0.0, 0.0),
    ]


def test_shallow_baseline_judges_each_label_against_the_rest():
    texts = ["cheap", "slow waiter", "cheap but slow waiter", "a table"] * 8
    given = {"price": [True, False, True, False] * 8, "service": [False, True, True, False] * 8, "food": [False] * 32}
    unseen = ["very cheap", "a slow waiter", "cheap but slow waiter", "a table"]
    assert scores.shallow_label_sets(texts, given, unseen) == [["price"], ["service"], ["price", "service"], []]


def test_baselines_are_scored_from_the_training_rows(tmp_path):
    said = {"cheap": "price", "slow waiter": "service", "a table": "none", "cheap, slow waiter": "price, service"}
    lines = [
        {"id": f"{n}", "prompt": [{"content": text}], "completion": [{"content": answer}]}
        for n, (text, answer) in enumerate(list(said.items()) * 5 + [("cheap", "price")])
    ]
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = held_out_rows([held_out("cheap", gold="price"), held_out("a table", gold="none")], "accuracy")
    found = score_baselines(TASK, rows, file)
    assert [answer.answer for answer in found[System.MAJORITY]] == ["price", "price"]
    assert [answer.score for answer in found[System.SHALLOW]] == [1, 1]
