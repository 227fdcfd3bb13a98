"""Summarization: rounds, prompts, flaws, scores, rules of rows."""

import json

import pytest

from distillery_trainer.data.rows import Rejection
from distillery_trainer.tasks import Unreadable
from task_definitions import new_row, task_definition

TEXT = "In 2014, Oxford trained 12 models on rows about fish. All of them learnt to swim."
PLAIN = task_definition("Summarization")
DENSE = task_definition("Summarization", chainOfDensity=True, maxSummaryWords=10)


def rounds(*summaries: str) -> list[dict[str, str]]:
    return [{"Missing_Entities": "Oxford; fish", "Denser_Summary": summary} for summary in summaries]


FOUR = rounds(
    "This text is about models.", "Models learnt.", "Twelve models learnt.", "Oxford's models learnt to swim."
)


@pytest.mark.parametrize(
    "reply",
    [
        json.dumps({"rounds": FOUR}),
        json.dumps(FOUR),
        f"Here you are:\n```json\n{json.dumps(FOUR, indent=1)}\n```",
        json.dumps({"summaries": FOUR}),
        json.dumps({"rounds": FOUR}).replace("Denser_Summary", "denser summary"),
        json.dumps({"rounds": FOUR}).replace("}, {", "},\n{").replace("}]}", "},]}"),
        f"<think>{json.dumps(FOUR[:2])}</think>{json.dumps(FOUR)}",
        "Oxford's models learnt to swim.",
    ],
)
def test_the_last_of_four_summaries_is_the_answer(reply):
    assert DENSE.read_answer(reply, TEXT) == "Oxford's models learnt to swim."


@pytest.mark.parametrize(
    ("reply", "reason", "message"),
    [
        ("", "empty", "The reply is empty."),
        (json.dumps({"rounds": FOUR[:3]}), "bad_json", "The reply has 3 rounds; there must be exactly 4."),
        (json.dumps(FOUR + FOUR), "bad_json", "The reply has 8 rounds; there must be exactly 4."),
        (json.dumps(FOUR[:1]), "bad_json", "The reply has 1 round; there must be exactly 4."),
        (json.dumps(rounds("a", "b", "c", "")), "bad_json", 'The last round has no "Denser_Summary".'),
        (json.dumps({"rounds": FOUR})[:-60], "bad_json", None),
        (json.dumps({"rounds": []}), "bad_json", None),
    ],
)
def test_rounds_that_are_not_four_summaries(reply, reason, message):
    answer = DENSE.read_answer(reply, TEXT)
    assert isinstance(answer, Unreadable)
    assert answer.reason == reason
    assert message in (None, answer.message)


def test_teacher_reply_without_the_requested_rounds_is_unreadable():
    assert DENSE.read_teacher_answer("Models learnt.", TEXT).reason == "bad_json"
    assert DENSE.read_teacher_answer(json.dumps(FOUR), TEXT) == "Oxford's models learnt to swim."
    assert DENSE.read_teacher_answer(" ", TEXT).reason == "empty"
    own = task_definition("Summarization", chainOfDensity=True, prompts={"teacher": "Sum up."})
    assert own.read_teacher_answer("Models learnt.", TEXT) == PLAIN.read_teacher_answer("Models learnt.", TEXT)


def test_density_prompt_names_the_length_and_the_schema_the_rounds():
    system, user = DENSE.teacher_messages(new_row(TEXT, system="Be brief."))
    assert "No summary has more than 10 words. Write in the language of the text." in system["content"]
    assert user["content"] == f"<item>\n{TEXT}\n</item>"
    assert DENSE.reply_schema()["properties"]["rounds"]["items"]["required"] == ["Missing_Entities", "Denser_Summary"]
    assert PLAIN.reply_schema() is None
    assert (DENSE.max_tokens, PLAIN.max_tokens, PLAIN.student_max_answer_tokens) == (1024, 1024, 240)
    assert task_definition("Summarization", chainOfDensity=True, maxSummaryWords=200).max_tokens == 1600
    assert task_definition("Summarization", maxSummaryWords=800).max_tokens == 2400


def test_custom_teacher_prompt_may_ask_for_any_number_of_summaries():
    own = task_definition("Summarization", chainOfDensity=True, prompts={"teacher": "Summarise."})
    assert own.reply_schema() is None


def test_student_prompt_of_a_summary():
    assert PLAIN.teacher_messages(new_row(TEXT)) == PLAIN.student_messages(new_row(TEXT))
    assert PLAIN.student_messages(new_row(TEXT))[0]["content"] == (
        "Summarise the text in at most 80 words, in the language of the text. Reply with the summary and nothing else."
    )


def test_summary_a_quarter_too_long_is_rejected():
    assert DENSE.answer_problem("one two three four five six seven eight nine ten eleven twelve", TEXT) is None
    problem = DENSE.answer_problem("one two three four five six seven eight nine ten eleven twelve thirteen", TEXT)
    assert problem == Rejection("too_long", "The summary has 13 words, more than 12 (maxSummaryWords plus 25 %).")


def test_unfaithful_summary_is_rejected_only_by_request_of_the_filter():
    strict = task_definition("Summarization", filters={"faithful": True})
    assert strict.answer_problem("In 2014, 12 models learnt.", TEXT) is None
    assert strict.answer_problem("In 2015, 13 models learnt.", TEXT) == Rejection(
        "unfaithful", "The summary names what its source does not: 2015, 13."
    )
    assert PLAIN.answer_problem("In 2015, 13 models learnt.", TEXT) is None


def test_summary_is_scored_by_its_similarity_to_the_best_reference():
    assert PLAIN.metric == "rougeL"
    assert PLAIN.score("a b", ["c d", "a b"]) == 1.0
    assert PLAIN.score("a b", "a c") == pytest.approx(0.5)
    assert PLAIN.correct("A b.", "a b")


def test_rules_of_summaries():
    assert PLAIN.row_problem(new_row(TEXT, gold="Anything.")) is None
    assert PLAIN.row_problem(new_row(TEXT, "a", "b")).startswith("a row of the task Summarization has one user message")
