"""Summarization and conversation: prompts, rounds, turns, languages."""

import json
from dataclasses import replace

import pytest

from distillery_trainer.data.records import Rejection
from distillery_trainer.tasks import StudentTurn, Unreadable
from task_prompts import example, task_prompt

TEXT = "In 2014, Oxford trained 12 models on rows about fish. All of them learnt to swim."
PLAIN = task_prompt("Summarization")
DENSE = task_prompt("Summarization", chainOfDensity=True, maxSummaryWords=10)
TALK = task_prompt("Conversation")


def rounds(*summaries: str) -> list[dict[str, str]]:
    return [{"Missing_Entities": "Oxford; fish", "Denser_Summary": summary} for summary in summaries]


FOUR = rounds(
    "This text is about models.", "Models learnt.", "Twelve models learnt.", "Oxford's models learnt to swim."
)

# --- summaries


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
def test_rounds_that_are_no_four_summaries(reply, reason, message):
    answer = DENSE.read_answer(reply, TEXT)
    assert isinstance(answer, Unreadable)
    assert answer.reason == reason
    assert message in (None, answer.message)


def test_teacher_that_was_asked_for_rounds_must_give_them():
    assert DENSE.read_teacher_answer("Models learnt.", TEXT).reason == "bad_json"
    assert DENSE.read_teacher_answer(json.dumps(FOUR), TEXT) == "Oxford's models learnt to swim."
    assert DENSE.read_teacher_answer(" ", TEXT).reason == "empty"
    own = task_prompt("Summarization", chainOfDensity=True, prompts={"teacher": "Sum up."})
    assert own.read_teacher_answer("Models learnt.", TEXT) == PLAIN.read_teacher_answer("Models learnt.", TEXT)


def test_density_prompt_names_the_length_and_the_schema_the_rounds():
    system, user = DENSE.teacher_messages(example(TEXT, system="Be brief."))
    assert "No summary has more than 10 words. Write in the language of the text." in system["content"]
    assert user["content"] == f"<item>\n{TEXT}\n</item>"
    assert DENSE.reply_schema()["properties"]["rounds"]["items"]["required"] == ["Missing_Entities", "Denser_Summary"]
    assert PLAIN.reply_schema() is None
    assert (DENSE.max_tokens, PLAIN.max_tokens, PLAIN.student_max_answer_tokens) == (1024, 1024, 240)
    assert task_prompt("Summarization", chainOfDensity=True, maxSummaryWords=200).max_tokens == 1600
    assert task_prompt("Summarization", maxSummaryWords=800).max_tokens == 2400


def test_own_prompt_of_the_teacher_leaves_open_how_many_summaries_it_writes():
    own = task_prompt("Summarization", chainOfDensity=True, prompts={"teacher": "Summarise."})
    assert own.reply_schema() is None


def test_language_is_asked_for_once_also_where_a_row_was_prepared_before():
    prompt = task_prompt("Conversation", language="de")
    row = example("Hello.")
    prepared = replace(row, messages=prompt.student_messages(row))
    assert prompt.student_messages(prepared) == prompt.student_messages(row)


def test_student_prompt_of_a_summary():
    assert PLAIN.teacher_messages(example(TEXT)) == PLAIN.student_messages(example(TEXT))
    assert PLAIN.student_messages(example(TEXT))[0]["content"] == (
        "Summarise the text in at most 80 words, in the language of the text. Reply with the summary and nothing else."
    )


def test_language_is_part_of_every_prompt():
    german = task_prompt("Summarization", language="de", chainOfDensity=True)
    assert german.student_prompt() == (
        "Summarise the text in at most 80 words. Reply with the summary and nothing else.\n\nWrite in German."
    )
    assert german.student_prompt(example(TEXT, system="Be brief.")) == "Be brief.\n\nWrite in German."
    assert "Write in German." in german.teacher_messages(example(TEXT))[0]["content"]
    own = task_prompt("Conversation", language="pt-BR", prompts={"teacher": "Be kind."})
    assert own.teacher_messages(example("Hi"))[0]["content"] == "Be kind.\n\nWrite in Portuguese (Brazil)."


def test_summary_a_quarter_too_long_is_rejected():
    assert DENSE.answer_problem("one two three four five six seven eight nine ten eleven twelve", TEXT) is None
    problem = DENSE.answer_problem("one two three four five six seven eight nine ten eleven twelve thirteen", TEXT)
    assert problem == Rejection("too_long", "The summary has 13 words, more than 12 (maxSummaryWords plus 25 %).")


def test_unfaithful_summary_is_rejected_only_where_that_is_asked_for():
    strict = task_prompt("Summarization", filters={"faithful": True})
    assert strict.answer_problem("In 2014, 12 models learnt.", TEXT) is None
    assert strict.answer_problem("In 2015, 13 models learnt.", TEXT) == Rejection(
        "unfaithful", "The summary names what its source does not: 2015, 13."
    )
    assert PLAIN.answer_problem("In 2015, 13 models learnt.", TEXT) is None


def test_summary_is_scored_by_its_likeness_to_the_best_reference():
    assert PLAIN.metric == "rougeL"
    assert PLAIN.score("a b", ["c d", "a b"]) == 1.0
    assert PLAIN.score("a b", "a c") == pytest.approx(0.5)
    assert PLAIN.correct("A b.", "a b")


def test_rules_of_summaries():
    assert PLAIN.row_problem(example(TEXT, gold="Anything.")) is None
    assert PLAIN.row_problem(example(TEXT, "a", "b")).startswith("a row of the task Summarization has one user message")


# --- conversations

DIALOGUE = example("Hi.", "Hello!", "A table?", "Where?", "In Rome.", system="Book tables.")


def roles_and_texts(messages: list[dict[str, str]]) -> str:
    return " ".join(f"{message['role'][0]}:{message['content']}" for message in messages)


def test_turns_are_asked_in_order_after_the_teachers_own_answers():
    asked = [TALK.next_request(DIALOGUE, ["one", "two", "three"][:turn]) for turn in range(4)]
    assert [roles_and_texts(messages) for messages in asked[:3]] == [
        "s:Book tables. u:Hi.",
        "s:Book tables. u:Hi. a:one u:A table?",
        "s:Book tables. u:Hi. a:one u:A table? a:two u:In Rome.",
    ]
    assert asked[3] is None


def test_original_history_keeps_what_the_row_says():
    talk = task_prompt("Conversation", history="Original")
    asked = [talk.next_request(DIALOGUE, ["one", "two"][:turn]) for turn in range(3)]
    assert roles_and_texts(asked[2]) == "s:Book tables. u:Hi. a:Hello! u:A table? a:Where? u:In Rome."
    turns = talk.student_turns(DIALOGUE, ["one", "two", "three"])
    assert roles_and_texts(turns[1].prompt) == "s:Book tables. u:Hi. a:Hello! u:A table?"


def test_student_learns_every_turn_after_what_the_teacher_saw():
    turns = TALK.student_turns(DIALOGUE, ["one", "two", "three"])
    assert [turn.completion for turn in turns] == ["one", "two", "three"]
    assert roles_and_texts(turns[2].prompt) == "s:Book tables. u:Hi. a:one u:A table? a:two u:In Rome."


def test_one_turn_is_a_conversation():
    assert TALK.next_request(example("Hi."), ["Hello."]) is None
    assert TALK.student_turns(example("Hi."), ["Hello."]) == [
        StudentTurn(
            [
                {
                    "role": "system",
                    "content": "You are a helpful assistant. Answer the user's last message, in the language of that"
                    " message.",
                },
                {"role": "user", "content": "Hi."},
            ],
            "Hello.",
        )
    ]


def test_teachers_own_prompt_is_not_the_students():
    talk = task_prompt("Conversation", prompts={"teacher": "Think first.", "student": "Be short."})
    assert roles_and_texts(talk.next_request(DIALOGUE, ["one"])) == "s:Think first. u:Hi. a:one u:A table?"
    assert roles_and_texts(talk.student_turns(DIALOGUE, ["one"])[0].prompt) == "s:Be short. u:Hi."


def test_reply_keeps_its_formatting_and_loses_its_thoughts():
    assert TALK.read_answer("<think>hm</think>\n\n- one\n\n- two\n", "Hi.") == "- one\n\n- two"
    assert TALK.read_answer(' {"a": 1} ', "Hi.") == '{"a": 1}'
    assert TALK.read_answer(" \n", "Hi.").reason == "empty"


def test_parts_of_one_dialogue_are_one_group():
    assert TALK.split_group(DIALOGUE) == TALK.split_group(example("hi. ")) == "hi."
    assert TALK.row_problem(DIALOGUE) is None
    assert (TALK.max_tokens, TALK.student_max_answer_tokens) == (1024, 1024)
