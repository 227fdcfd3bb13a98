"""Text: any instruction whose answer is prose, SQL or code."""

import json

import pytest

from distillery_trainer.tasks import Unreadable
from task_definitions import new_row, task_definition

PLAIN = task_definition("Text")
SQL = task_definition("Text", filters={"answerRules": [{"parsesAs": "SQL"}]})
FENCED = "Here is the query:\n\n```sql\nSELECT 1;\n```\nIt gives one row."


def test_the_users_instruction_reaches_teacher_and_student_alike():
    in_row = new_row("Hello.", system="Translate into French.")
    messages = [{"role": "system", "content": "Translate into French."}, {"role": "user", "content": "Hello."}]
    assert PLAIN.teacher_messages(in_row) == PLAIN.student_messages(in_row) == messages
    own = task_definition("Text", prompts={"student": "Translate into German."})
    assert own.teacher_messages(in_row)[0]["content"] == "Translate into German."
    both = task_definition("Text", prompts={"instructions": "Translate into Greek."})
    greek = "Translate into Greek.\n\nReply with the result and nothing else."
    assert [both.teacher_messages(in_row)[0]["content"], both.student_prompt(in_row)] == [greek, greek]


def test_without_an_instruction_of_its_own_the_message_is_the_instruction():
    assert PLAIN.student_prompt() == "Do what the user's message asks for. Reply with the result and nothing else."


def test_a_language_is_requested_where_it_is_set():
    assert task_definition("Text", language="de").student_prompt().endswith("\n\nWrite in German.")


def test_the_answer_is_the_whole_reply():
    assert PLAIN.read_answer("<think>Hm.</think>\n\n# Dear Ann,\n\nThank you. \n", "") == "# Dear Ann,\n\nThank you."
    assert PLAIN.read_answer(FENCED, "") == FENCED
    assert PLAIN.read_answer(" \n", "") == Unreadable("empty", "The reply is empty.")


def test_where_answers_must_parse_the_only_code_fence_holds_the_answer():
    assert SQL.read_answer(FENCED, "") == SQL.read_teacher_answer(FENCED, "") == "SELECT 1;"
    assert SQL.read_answer("SELECT 1;", "") == "SELECT 1;"
    two = f"{FENCED}\n```sql\nSELECT 2;\n```"
    assert SQL.read_answer(two, "") == two
    assert SQL.read_answer("```sql\n```", "") == "```sql\n```"


def test_an_answer_is_scored_by_its_similarity_to_the_best_reference():
    assert PLAIN.metric == "chrF"
    assert PLAIN.score("Der Hund bellt.", ["Die Katze schl\u00e4ft.", "Der Hund bellt."]) == 1.0
    assert PLAIN.score("Der Hund bellt.", "Der Hund beisst.") == pytest.approx(0.6023, abs=0.0001)
    assert PLAIN.score("x", "Der Hund bellt.") == 0.0


def test_an_answer_is_exact_if_it_is_gold_white_space_apart():
    assert PLAIN.correct("SELECT a\n  FROM t;", ["SELECT 2;", "SELECT a FROM t;"])
    assert not PLAIN.correct("select a from t;", "SELECT a FROM t;")
    assert not PLAIN.correct("SELECTa FROM t;", "SELECT a FROM t;")


REASONED = task_definition("Text", chainOfThought=True, filters={"answerRules": [{"parsesAs": "SQL"}]})
REPLY = json.dumps({"reason": "One table will do.", "answer": "```sql\nSELECT 1;\n```"})


def test_chain_of_thought_has_the_users_instruction_in_it_and_the_row_after_it():
    system, user = REASONED.teacher_messages(new_row("How many orders?", system="Write SQL."))
    assert "<instructions>\nWrite SQL.\n</instructions>" in system["content"]
    assert system["content"].startswith("You are a careful assistant.\n\nThe user's instructions for this task")
    assert user["content"] == "<item>\nHow many orders?\n</item>"
    alone = REASONED.teacher_messages(new_row("Write a haiku."))[0]["content"]
    assert "<instructions>" not in alone
    assert "or, where there are none, the request itself." in alone
    german = task_definition("Text", chainOfThought=True, language="de")
    assert german.teacher_messages(new_row("Write a haiku."))[0]["content"].endswith("\n\nWrite in German.")
    assert REASONED.reply_schema()["required"] == ["reason", "answer"]
    assert (REASONED.max_tokens, REASONED.student_max_tokens) == (1536, 1024)
    assert REASONED.student_messages(new_row("How many?", system="Write SQL."))[0]["content"] == "Write SQL."


def test_the_answer_of_a_reply_with_reasoning_is_what_the_student_learns():
    assert REASONED.read_teacher_answer(REPLY, "") == "SELECT 1;"
    assert REASONED.read_reasoning(REPLY) == "One table will do."
    assert REASONED.read_answer(REPLY, "") == "SELECT 1;"
    assert REASONED.read_answer("SELECT 2;", "") == "SELECT 2;"
    assert PLAIN.read_answer(REPLY, "") == REPLY


@pytest.mark.parametrize(
    ("reply", "reason", "message"),
    [
        ("SELECT 1;", "bad_json", 'The reply is not a JSON object with "reason" and "answer".'),
        ('{"answer": "SELECT 1;"}', "bad_json", 'The reply is not a JSON object with "reason" and "answer".'),
        ('{"reason": "x", "answer": 3}', "bad_json", 'The reply\'s "answer" is not one string.'),
        ('{"reason": "x", "answer": " "}', "empty", 'The reply\'s "answer" is empty.'),
        (f'{REPLY} {{"reason": "y", "answer": "SELECT 2"}}', "bad_json", 'The reply\'s "answer" is not one string.'),
        ("", "empty", "The reply is empty."),
    ],
)
def test_a_teachers_reply_without_reason_and_answer_is_unreadable(reply, reason, message):
    assert REASONED.read_teacher_answer(reply, "") == Unreadable(reason, message)


def test_a_custom_teacher_prompt_may_want_another_form():
    own = task_definition("Text", chainOfThought=True, prompts={"teacher": "Think, then write."})
    assert own.read_teacher_answer("Thought of.", "") == "Thought of."


def test_a_row_has_one_user_message():
    assert PLAIN.row_problem(new_row("Hello.", system="Translate.", gold=["Bonjour.", "Salut."])) is None
    assert PLAIN.row_problem(new_row("Hello.", "Hi.", "Again.")).startswith(
        "a row of the task Text has one user message"
    )


def test_answers_may_be_as_long_as_the_teachers():
    assert (PLAIN.max_tokens, PLAIN.student_max_tokens) == (1024, 1024)
    assert task_definition("Text", sampling={"maxTokens": 64}).student_max_tokens == 64
