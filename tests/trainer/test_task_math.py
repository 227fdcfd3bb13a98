"""Math: prompts, replies with numbers, equality, rules of rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_trainer.tasks import Unreadable
from task_definitions import new_row, task_definition

PROBLEM = "A book costs $9. What do 8 books cost?"
PLAIN = task_definition("Math")
REASONED = task_definition("Math", chainOfThought=True)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("72", "72"),
        ("72.0", "72"),
        ("$1,200.50", "1200.5"),
        ("\u22125", "-5"),
        ("72 dollars", "72"),
        ("It costs 72.", "72"),
        ("8 * 9 = 72, so the answer is 72.", "72"),
        ("First I thought the answer is 70. The answer is **72**.", "72"),
        ("8 * 9 is \\boxed{72}.", "72"),
        ("8 * 9\n#### 72", "72"),
        ("The answer is $72.", "72"),
        ("1/3", "1/3"),
        ("50 %", "50%"),
        ('{"reason": "8 * 9 = 72", "answer": 72}', "72"),
        ('{"reason": "8 * 9 = 72", "answer": 72.0}', "72"),
        ('{"reason": "8 * 9 = 72", "answer": "$72"}', "72"),
        ('{"reason": "8 * 9 = 72", "answer": "72 dollars"}', "72"),
        ('```json\n{"reason": "x", "answer": 1,200}\n```', "1200"),
        ('{"answer": 0}', "0"),
        ("<think>70?</think>72", "72"),
        ("```\n72\n```", "72"),
        ("8 * 9 = 72", "72"),
        ("The answer is $\\boxed{-\\frac{3}{4}}$.", "-0.75"),
        ('{"reason": "r", "answer": "-\\\\frac{3}{4}"}', "-0.75"),
        ("\\boxed{- 5}", "-5"),
        ("minus 3", "-3"),
        ("The answer is 3 \u00d7 10^8 m/s.", "300000000"),
        ("The answer is 48 + 24 = 72.", "72"),
        ("The answer is 10 000 m", "10000"),
        ('{"reason": "r", "answer": 123456789012345678901}', "123456789012345678901"),
        ("```python\nprint(8 * 9)\n```\nThe answer is 72.", "72"),
    ],
)
def test_reply_with_one_number(reply, answer):
    assert REASONED.read_answer(reply, PROBLEM) == PLAIN.read_answer(reply, PROBLEM) == answer


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        ("13 or 12", "several_numbers"),
        ("The answer is 13 or 12.", "several_numbers"),
        ("8 * 9 = 72 and 72 / 2 = 36", "several_numbers"),
        ("12-15", "several_numbers"),
        ("seventy-two", "no_number"),
        ('{"reason": "72"}', "bad_json"),
        ('{"reason": "72", "answer": 7', "bad_json"),
        ('{"answer": ""}', "empty"),
        ('{"answer": null}', "no_number"),
        ('{"answer": true}', "no_number"),
        ('{"answer": [72]}', "no_number"),
        ('{"answer": "13 or 12"}', "several_numbers"),
        ("<think>72", "empty"),
        ("The answer is 5\\sqrt{3}", "several_numbers"),
        ("The answer is 3:1", "several_numbers"),
        ("It is not 72.", "no_number"),
        ("72 degrees below zero", "no_number"),
        ("\\boxed{4}, \\boxed{5}", "several_numbers"),
        ("The answer is 72; no, 74", "several_numbers"),
        ("-\\boxed{5}", "no_number"),
        ("The answer is 72. Wait, no.", "no_number"),
        ('{"answer": 70, "answer": 72}', "bad_json"),
        ('{"answer": 70}\n{"answer": 72}', "bad_json"),
        ('{"answer": 70}\nWait, it is 72.', "several_numbers"),
        ('{"answer": NaN}', "no_number"),
        ('{"answer": ' + "9" * 5000 + "}", "no_number"),
        ('{"answer": ' + "[" * 5000 + "]" * 5000 + "}", "bad_json"),
    ],
)
def test_reply_without_one_number(reply, reason):
    answer = PLAIN.read_answer(reply, PROBLEM)
    assert isinstance(answer, Unreadable)
    assert answer.reason == reason
    assert answer.message.endswith(".")


@given(st.text(alphabet='0123456789.,-/%$ answeris:{}"\\\n'))
def test_any_reply_is_one_number_or_unreadable(reply):
    answer = PLAIN.read_answer(reply, PROBLEM)
    assert isinstance(answer, Unreadable) or PLAIN.read_answer(answer, PROBLEM) == answer


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [("72", "72.0", True), ("0.5", "1/2", True), ("50%", "50", False), ("50%", "50 %", True), ("7", ["8", "7"], True)],
)
def test_score_is_equality_of_numbers(answer, gold, right):
    assert PLAIN.correct(answer, gold) is right


def test_prompts():
    system, user = REASONED.teacher_messages(new_row(PROBLEM, system="Show your working."))
    assert "at most 80 words" in system["content"]
    assert '"answer": the result as a plain JSON number' in system["content"]
    assert user["content"] == f"<item>\n{PROBLEM}\n</item>"
    assert REASONED.reply_schema() == {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "answer": {"type": "number"}},
        "required": ["reason", "answer"],
        "additionalProperties": False,
    }
    assert REASONED.student_messages(new_row(PROBLEM))[0]["content"].startswith("Solve the problem. Reply with")
    assert REASONED.read_reasoning('{"reason": "8 * 9 = 72", "answer": 72}') == "8 * 9 = 72"


def test_rules_of_rows():
    assert PLAIN.row_problem(new_row(PROBLEM, gold="1,200")) is None
    assert PLAIN.row_problem(new_row(PROBLEM, gold=["72", "many"])) == (
        'the gold answer "many" is not a single number; write a plain number, such as 72 or 0.5'
    )
    assert PLAIN.row_problem(new_row(PROBLEM, "72", "Why?")).startswith("a row of the task Math has one user message")
