"""The result table of each task: scores, intervals, baselines and the gap closed."""

import json
import math

import pytest

from distillery_trainer.evaluation.baselines import score_baselines
from distillery_trainer.evaluation.result_table import EvaluationContext, result_table
from distillery_trainer.evaluation.systems import System, SystemReply, held_out_rows, score_replies, score_teacher
from held_out_rows import held_out, task_definition

TEACHER, BASE_TEACHER_PROMPT, BASE, STUDENT = (
    System.TEACHER,
    System.BASE_TEACHER_PROMPT,
    System.BASE,
    System.STUDENT,
)
SOURCE = "The harbour of Bergen opened in 1070. It burnt down 7 times and was rebuilt each time by its merchants."


def replies(*texts):
    return [SystemReply(text, prompt_tokens=20, answer_tokens=4) for text in texts]


def table_of(prompt, rows, train, tmp_path, *, base_teacher_prompt, base, student, **context):
    """The table of a run with these replies; `train` are the questions and answers of the training rows."""
    path = tmp_path / "train.jsonl"
    path.write_text(
        "".join(
            json.dumps(
                {
                    "id": row_text,
                    "prompt": [{"role": "user", "content": row_text}],
                    "completion": [{"role": "assistant", "content": answer}],
                }
            )
            + "\n"
            for row_text, answer in train
        )
    )
    given = {BASE_TEACHER_PROMPT: base_teacher_prompt, BASE: base, STUDENT: student}
    answers = {TEACHER: score_teacher(prompt, rows)}
    answers |= {name: score_replies(prompt, replies(*texts), rows) for name, texts in given.items()}
    answers |= score_baselines(prompt, rows, path)
    return result_table(prompt, answers, rows, EvaluationContext("cpu", "float32", **context))


def test_a_verdict_states_the_scores_of_the_table_where_they_are_not_the_mean_of_the_rows(tmp_path):
    properties = {name: {"type": "number"} for name in "abcd"}
    task = task_definition("Extraction", schema={"type": "object", "properties": properties})
    large, small = '{"a":1,"b":2,"c":3,"d":4}', '{"a":1}'
    rows = held_out_rows([held_out(f"row {n}", gold=[large, small][n % 2]) for n in range(60)], "fieldF1")
    half = ['{"a":1,"b":2}', small] * 30
    made = table_of(
        task, rows, [("row x", small)], tmp_path, base_teacher_prompt=["?"] * 60, base=["?"] * 60, student=half
    )
    assert (made.student.score, made.teacher.score) == (0.75, 0.0)
    # The mean of the rows' own F1, 2/3 and 1, is 0.833.
    assert made.verdict.message == "The student is better than its teacher: 0.750 against 0.000."


def test_table_of_labels_has_shares_macro_f1_and_both_baselines(tmp_path):
    prompt = task_definition("NLI", ["yes", "no"])
    rows = held_out_rows(
        [held_out(f"good {n}", gold="yes", answer="yes") for n in range(3)] + [held_out("bad", "no", "yes")], "accuracy"
    )
    train = [("good 7", "yes"), ("good 8", "yes"), ("good 9", "yes"), ("bad 8", "no"), ("bad 9", "no")]
    made = table_of(
        prompt, rows, train, tmp_path,
        base_teacher_prompt=["yes", "no", "no", "no"],
        base=["no"] * 4, student=["yes", "The answer is yes.", "yes", "no"],
    )  # fmt: skip
    assert (made.teacher.score, made.base_teacher_prompt.score, made.base.score, made.student.score) == (
        0.75,
        0.5,
        0.25,
        1,
    )
    assert (made.student.strict, made.student.unreadable, made.student.macro_f1) == (0.75, 0.0, 1.0)
    assert (made.majority.score, made.shallow.score, made.lead) == (0.75, 1.0, None)
    # Shallow is as good, so it is not said how much of the gap is closed.
    assert (made.gap_closed, made.relative_gain, made.p_value) == (None, 1.0, 0.25)
    assert (made.verdict.kind, made.verdict.remedy) == ("TooFewRows", "MoreHeldOutRows")
    assert (made.student.rouge1, made.student.words, made.majority.unreadable) == (None, None, None)
    assert made.is_partly_right is False


def test_letters_of_options_have_no_macro_f1(tmp_path):
    row_text = "Which is a fruit?\nA. pear\nB. stone"
    rows = held_out_rows([held_out(row_text, gold="A", answer="A")], "accuracy")
    made = table_of(
        task_definition("MultipleChoice"), rows, [(row_text, "A"), (row_text, "B"), (row_text, "A")], tmp_path,
        base_teacher_prompt=["B"], base=["B"], student=["A) pear"],
    )  # fmt: skip
    assert (made.student.score, made.student.macro_f1, made.majority.score) == (1.0, None, 1.0)


def test_numbers_are_right_by_value_and_have_a_majority_alone(tmp_path):
    prompt = task_definition("Math")
    answered = [held_out("36 + 36?", gold="72", answer="72"), held_out("1 + 1?", gold="2", answer="3")]
    rows = held_out_rows(answered, "accuracy")
    made = table_of(
        prompt, rows, [("8 + 8?", "16"), ("1 + 0 + 1?", "2"), ("4 - 2?", "2")], tmp_path,
        base_teacher_prompt=['{"reason": "a double", "answer": 72}', "13 or 12"],
        base=["7", "8"], student=["72.0", "2"],
    )  # fmt: skip
    assert (made.metric, made.student.score, made.base_teacher_prompt.score, made.base.score) == (
        "accuracy",
        1.0,
        0.5,
        0.0,
    )
    assert (made.base_teacher_prompt.unreadable, made.student.strict) == (0.5, 0.5)
    assert (made.majority.score, made.shallow, made.lead, made.student.macro_f1) == (0.5, None, None, None)
    assert (made.gap_closed, made.student.low) == (None, pytest.approx(0.3424, abs=1e-4))


def test_table_of_summaries_has_rouge_length_and_the_lead(tmp_path):
    prompt = task_definition("Summarization", maxSummaryWords=10)
    gold = "Bergen harbour opened in 1070 and burnt down seven times."
    answered = [held_out(SOURCE, gold=gold, answer=gold), held_out(SOURCE, gold=[gold, "Bergen burnt."])]
    rows = held_out_rows(answered, "rougeL")
    made = table_of(
        prompt, rows, [], tmp_path,
        base_teacher_prompt=["Bergen burnt.", ""], base=["", ""], student=[gold, "Bergen burnt 9 times."],
    )  # fmt: skip
    assert (made.metric, made.teacher.score, made.teacher.words, made.teacher.unreadable) == ("rougeL", 0.5, 10.0, 0.5)
    # Bergen burnt: 2 of 4 words, 2 of 2, so F1 is 2/3; the other row is the gold itself.
    assert made.student.score == pytest.approx((1 + 2 / 3) / 2, abs=1e-4)
    assert made.student.words == 7.0
    assert made.student.invented_numbers == 0.5
    assert made.base.score == 0.0
    assert (made.base.words, made.base.rouge1, made.base.invented_numbers) == (None, 0.0, None)
    # The lead is "The harbour of Bergen opened in 1070. It burnt down".
    assert made.lead.words == 10.0
    assert made.lead.rouge1 == pytest.approx(0.7, abs=1e-4)
    assert (made.lead.unreadable, made.majority, made.shallow) == (None, None, None)
    assert (made.student.strict, made.student.macro_f1, made.student.perplexity) == (None, None, None)
    assert made.is_partly_right is True


def test_table_of_texts_has_the_scores_of_the_corpus_exact_answers_rules_and_the_copy(tmp_path):
    prompt = task_definition("Text", filters={"answerRules": [{"matches": "[.]$"}]})
    rows = held_out_rows(
        [
            held_out(
                "the old mill is open.", ["The old mill is open now.", "The mill: open."], answer="The mill: open."
            ),
            held_out("it is closed.", "It is closed today."),
        ],
        prompt.metric,
    )
    made = table_of(
        prompt, rows, [], tmp_path,
        base_teacher_prompt=["", "x"], base=["the old mill is open.", "It is closed  today."],
        student=["The old mill is open now.", "It is closed today"],
    )  # fmt: skip
    assert (made.metric, made.similarity, made.is_partly_right, made.sample_size) == ("chrF", "chrF", True, 2)
    assert (made.teacher.score, made.teacher.exact, made.teacher.rules_kept) == (0.5, 0.5, 0.5)
    assert (made.base.exact, made.base.rules_kept, made.student.exact, made.student.rules_kept) == (0.5, 1.0, 0.5, 0.5)
    assert 0.9 < made.student.score < 1
    assert 0.9 < made.student.chrf < 1
    assert made.student.bleu == pytest.approx(math.exp(1 - 12 / 11), abs=1e-4)  # only the length differs
    assert (made.student.rouge_l, made.student.words, made.student.rouge1) == (1.0, 5.0, None)
    assert (made.copied.exact, made.copied.rules_kept, made.copied.words) == (0.0, 1.0, 4.0)
    assert (made.copied.unreadable, made.lead, made.majority, made.student.strict) == (None, None, None, None)


def test_interval_and_test_of_texts_are_bootstraps(tmp_path):
    prompt = task_definition("Conversation")
    rows = held_out_rows([held_out(f"Say {n}", gold="one two three four", answer="one") for n in range(12)], "rougeL")
    made = table_of(
        prompt, rows, [], tmp_path,
        base_teacher_prompt=["five"] * 12, base=["one five"] * 12, student=["one two three four"] * 6 + ["one two"] * 6,
    )  # fmt: skip
    assert made.student.score == pytest.approx((1 + 2 / 3) / 2, abs=1e-4)
    assert 2 / 3 < made.student.low < made.student.score < made.student.high < 1
    assert (made.base.low, made.base.high) == (made.base.score, made.base.score)
    assert made.p_value < 0.001
    assert (made.student.invented_numbers, made.lead) == (None, None)


def test_perplexity_is_over_all_tokens_of_the_teacher_s_replies(tmp_path):
    prompt = task_definition("Conversation")
    rows = held_out_rows([held_out("a", gold="x", answer="y"), held_out("b", gold="x", answer="y")], "rougeL")
    given = {name: score_replies(prompt, replies("x", "x"), rows) for name in (BASE_TEACHER_PROMPT, BASE)}
    # 3 tokens at 2 nats each and 1 at 0: exp(6 / 4).
    student = [
        SystemReply("x", teacher_loss=6.0, teacher_tokens=3),
        SystemReply("x", teacher_loss=0.0, teacher_tokens=1),
    ]
    answers = {TEACHER: score_teacher(prompt, rows), **given, STUDENT: score_replies(prompt, student, rows)}
    made = result_table(prompt, answers, rows, EvaluationContext("cpu", "float32"))
    assert made.student.perplexity == pytest.approx(4.482, abs=1e-3)
    assert made.base.perplexity is None


def test_agreement_on_texts_has_no_teacher_and_no_gap(tmp_path):
    rows = held_out_rows([held_out("a", answer="one two")], "rougeL")
    made = table_of(
        task_definition("Conversation"), rows, [], tmp_path,
        base_teacher_prompt=["one"], base=["three"], student=["one two"],
        partly_supervised=True, judge="other", wins={STUDENT: [0.5]},
    )  # fmt: skip
    assert (made.metric, made.teacher, made.gap_closed, made.is_partly_right) == ("agreement", None, None, True)
    assert (made.student.score, made.student.low, made.student.high) == (1.0, None, None)
    assert (made.partly_supervised, made.judge, made.student.win_rate, made.base.win_rate) == (True, "other", 0.5, None)
