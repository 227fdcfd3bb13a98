"""Figures of each class: precision, recall, F1, and which classes are taken for which."""

import pytest

from distillery_trainer.evaluation.metrics import breakdown, figures
from distillery_trainer.evaluation.systems import System, SystemReply, held_out_rows, score_replies
from held_out_rows import held_out, task_definition


def labels_of(gold, replies):
    task = task_definition("NLI", ["yes", "no", "maybe"])
    rows = held_out_rows([held_out(f"row {n}", gold=label) for n, label in enumerate(gold)], "accuracy")
    answers = score_replies(task, [SystemReply(text) for text in replies], rows)
    return breakdown(task, {System.STUDENT: answers}, rows).systems["student"]


def test_each_label_has_its_precision_recall_and_f1():
    found = labels_of(["yes", "yes", "yes", "no"], ["yes", "yes", "no", "no"])
    assert [part.model_dump() for part in found.parts] == [
        {"name": "yes", "rows": 3, "precision": 1.0, "recall": 0.6667, "f1": 0.8},
        {"name": "no", "rows": 1, "precision": 0.5, "recall": 1.0, "f1": 0.6667},
        {"name": "maybe", "rows": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0},
    ]
    assert found.confusion == {"no": {"no": 1}, "yes": {"no": 1, "yes": 2}}


def test_an_unreadable_answer_is_wrong_and_stands_apart_in_the_confusion_matrix():
    found = labels_of(["yes", "no"], ["yes", "I would rather not say."])
    assert found.confusion == {"no": {"": 1}, "yes": {"yes": 1}}
    assert found.parts[1].model_dump() == {"name": "no", "rows": 1, "precision": 0.0, "recall": 0.0, "f1": 0.0}


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_of_several_right_labels_the_answered_one_is_the_rows(answer):
    assert labels_of([["yes", "no"]], [answer]).confusion == {answer: {answer: 1}}


def test_rows_with_options_of_their_own_and_numbers_have_no_parts():
    for name in ("MultipleChoice", "Math"):
        task = task_definition(name, [])
        rows = held_out_rows([held_out("What?\n(A) x\n(B) y", gold="B")], "accuracy")
        answers = score_replies(task, [SystemReply("B")], rows)
        assert breakdown(task, {System.STUDENT: answers}, rows) is None


INVOICE = {
    "type": "object",
    "properties": {
        "total": {"type": "number"},
        "note": {"type": "string"},
        "items": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
    },
}


def objects_of(gold, replies):
    task = task_definition("Extraction", schema=INVOICE)
    rows = held_out_rows([held_out(f"row {n}", gold=each) for n, each in enumerate(gold)], "fieldF1")
    answers = score_replies(task, [SystemReply(text) for text in replies], rows)
    return task, answers, rows


GOLD = ['{"total": 2, "items": [{"name": "a"}, {"name": "b"}]}', '{"total": 3}', '{"total": 4}', "{}"]
REPLIES = ['{"total": 2.0, "items": [{"name": "b"}, {"name": "c"}]}', '{"total": 3, "note": "x"}', "four", "{}"]


def test_objects_are_scored_over_the_fields_of_all_rows():
    found = figures(*objects_of(GOLD, REPLIES))
    # Right: total and b, total. Answered: 3 + 2. Wanted: 3 + 1 + 1.
    assert found["score"] == pytest.approx(2 * 3 / 10)
    assert (found["precision"], found["recall"]) == (3 / 5, 3 / 5)
    assert (found["valid_share"], found["exact"]) == (3 / 4, 1 / 4)
    assert 0 <= found["low"] < found["score"] < found["high"] <= 1


def test_each_field_has_its_precision_recall_and_f1():
    task, answers, rows = objects_of(GOLD, REPLIES)
    found = breakdown(task, {System.STUDENT: answers}, rows)
    assert found.part == "field"
    assert [part.model_dump() for part in found.systems["student"].parts] == [
        {"name": "items[].name", "rows": 1, "precision": 0.5, "recall": 0.5, "f1": 0.5},
        {"name": "note", "rows": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0},
        {"name": "total", "rows": 3, "precision": 1.0, "recall": 0.6667, "f1": 0.8},
    ]
    assert found.systems["student"].confusion is None


def test_of_several_right_objects_the_nearest_counts():
    found = figures(*objects_of([['{"total": 1, "note": "x"}', '{"total": 2}']], ['{"total": 2}']))
    assert (found["score"], found["exact"], found["low"]) == (1, 1, None)


def test_rows_without_any_field_are_right_if_answers_have_none():
    found = figures(*objects_of(["{}", "{}"], ["{}", "none"]))
    assert (found["score"], found["precision"], found["valid_share"]) == (0.5, None, 0.5)
