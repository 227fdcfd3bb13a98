"""Which systems are measured on which rows, and how their replies are read."""

from distillery_trainer.evaluation.systems import SystemReply, held_out_rows, score_replies
from held_out_rows import held_out, task_definition


def test_rows_with_gold_are_scored_against_it_and_the_others_are_left_out():
    rows = held_out_rows([held_out("a", gold="1", answer="2"), held_out("b", answer="3")], "accuracy")
    assert (rows.metric, [row.id for row in rows.rows], rows.references, rows.without_reference) == (
        "accuracy",
        ["a"],
        ["1"],
        1,
    )


def test_without_gold_the_teacher_s_answers_are_the_references():
    rows = held_out_rows([held_out("a", answer="2"), held_out("b")], "rougeL")
    assert (rows.metric, rows.references, rows.without_reference, rows.measures_agreement) == (
        "agreement",
        ["2"],
        1,
        True,
    )


def test_reply_that_is_missing_or_cut_off_scores_zero():
    rows = held_out_rows([held_out(text, gold="yes") for text in "abc"], "accuracy")
    given = [SystemReply(None), SystemReply("yes", finished=False), SystemReply("yes")]
    answers = score_replies(task_definition("NLI", ["yes", "no"]), given, rows)
    assert [(answer.answer, answer.score) for answer in answers] == [(None, 0.0), (None, 0.0), ("yes", 1.0)]


def test_reason_says_why_a_reply_has_no_answer():
    rows = held_out_rows([held_out(text, gold="yes") for text in "abcde"], "accuracy")
    texts = ["yes and no", "perhaps", "", "yes"]
    given = [SystemReply("yes", finished=False), *map(SystemReply, texts)]
    answers = score_replies(task_definition("NLI", ["yes", "no"]), given, rows)
    assert [(answer.answer, answer.reason) for answer in answers] == [
        (None, "truncated"),
        (None, "several_labels"),
        (None, "label_not_allowed"),
        (None, "empty"),
        ("yes", None),
    ]
