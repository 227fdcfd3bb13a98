"""The filters in the generate stage: what is sent to teacher and judge, and what is kept."""

import json

import pytest

from chat_protocol import Answer, Message, last_user_text
from chat_server import TeacherServer
from generate_run import GenerateRun, gold_of, nli_row, nli_rows
from teacher_server import gold_teacher

TRAIN, VALIDATION, TEST = nli_rows(12), nli_rows(6, 100), nli_rows(3, 200)
GOLD = gold_of(TRAIN, VALIDATION, TEST)


@pytest.fixture
def teacher():
    with gold_teacher(GOLD) as server:
        yield server


@pytest.fixture
def run(tmp_path, teacher):
    return GenerateRun(tmp_path, teacher.url, generation={"minRows": 1})


def test_rows_that_ask_what_another_row_asks_cost_nothing(run, teacher):
    run.train = [*TRAIN, TRAIN[2], VALIDATION[0], TEST[1]]
    run.validation = [*VALIDATION, VALIDATION[1], TEST[2]]
    result = run.run()
    assert result.splits["train"].rejected_by_reason == {"leaks_into_test": 2, "duplicate": 1}
    assert result.splits["validation"].rejected_by_reason == {"duplicate": 1, "leaks_into_test": 1}
    assert len(teacher.requests) == len(TRAIN) + len(VALIDATION) + len(TEST)
    assert [(row["id"], row["reason"], row["message"]) for row in run.rows("rejected")] == [
        ("train-13", "duplicate", "The row asks the same as line 3 of the train rows."),
        ("train-14", "leaks_into_test", "The row asks the same as line 1 of the validation rows."),
        ("train-15", "leaks_into_test", "The row asks the same as line 2 of the test rows."),
        ("validation-7", "duplicate", "The row asks the same as line 2 of the validation rows."),
        ("validation-8", "leaks_into_test", "The row asks the same as line 3 of the test rows."),
    ]


@pytest.mark.parametrize(("others", "reason"), [({"train": [TRAIN[0]] * 12}, "duplicate"), ({"test": TRAIN}, "leaks")])
def test_rows_that_are_all_the_same_or_all_in_the_test_split_are_too_few(run, teacher, others, reason):
    run.generation = {"minRows": 10}
    for split, rows in others.items():
        setattr(run, split, rows)
    result = run.run()
    assert (result.exit_code, result.reason) == (2, "TooFewRows")
    assert reason in result.message
    assert teacher.requests == []


def test_row_with_a_control_token_is_not_sent(run, teacher):
    run.train = [*TRAIN, nli_row(50, "neutral", id="odd")]
    run.train[-1]["messages"][0]["content"] += " <|im_end|>"
    assert run.run().splits["train"].rejected_by_reason == {"special_token": 1}
    assert all("<|im_end|>" not in request.user_text for request in teacher.requests)


def test_answers_against_gold_are_rejected_with_the_reply_that_gave_them(run):
    run.generation |= {"filters": {"disagreesWithGold": True}}
    with gold_teacher(GOLD, wrong_rate=0.5) as server:
        run.endpoint = server.url
        result = run.run()
    rejected = run.rows("rejected")
    assert set(result.rows.rejected_by_reason) == {"disagrees_with_gold"}
    assert len(rejected) == result.rows.rejected > 0
    assert all(f"The answer is {row['reply']}, but" in row["message"] and row["requestId"] for row in rejected)
    assert {row["userMessage"] for row in rejected} <= GOLD.keys()


# --- redaction


def test_personal_data_is_neither_sent_nor_kept(run, teacher):
    run.generation |= {"redaction": {"kinds": ["EmailAddress"]}}
    run.train = [dict(row) for row in TRAIN]
    run.train[3] = nli_row(3, "neutral")
    run.train[3]["messages"][0]["content"] += " Ask ann@example.com or bob@example.com."
    with TeacherServer(lambda messages: Answer("neutral")) as server:
        run.endpoint = server.url
        run.run()
        requested = [request.user_text for request in server.requests]
    assert not any("@" in text for text in requested)
    assert any("Ask [EMAIL_ADDRESS] or [EMAIL_ADDRESS_2]." in text for text in requested)
    assert run.rows("train")[3]["prompt"][1]["content"].endswith("Ask [EMAIL_ADDRESS] or [EMAIL_ADDRESS_2].")


def test_personal_data_in_the_system_message_is_not_in_the_students_prompt(run):
    run.generation |= {"redaction": {"kinds": ["EmailAddress"]}}
    system = {"role": "system", "content": "Help the customers of ann@example.com."}
    run.train = [{**row, "messages": [system, *row["messages"]]} for row in TRAIN]
    result = run.run()
    prompt = (run.workspace / result.files["studentPrompt"]).read_text()
    assert prompt == "Help the customers of [EMAIL_ADDRESS]."


# --- the judge


def doubtful(messages: list[Message]) -> Answer:
    """Rejects the answer about Person 4; its first reply about Person 5 is unreadable."""
    text = last_user_text(messages)
    if "Person 5 " in text:
        return Answer("Hm.")
    return Answer(json.dumps({"reason": "I doubt it.", "verdict": "reject" if "Person 4 " in text else "accept"}))


def test_judge_sees_every_answer_to_be_kept_and_none_of_held_out_rows(run):
    with TeacherServer(doubtful) as judge:
        run.generation |= {"judge": {"endpoint": judge.url, "model": "teacher"}}
        result = run.run()
        judged = [request.user_text for request in judge.requests]
    assert result.splits["train"].rejected_by_reason == {"judge_rejected": 1}
    assert [(row["id"], row["message"]) for row in run.rows("rejected")] == [
        ("train-5", "The judge rejects the answer: I doubt it.")
    ]
    assert "Hm." not in judged
    assert len(judged) == len(TRAIN) + len(VALIDATION) + 1  # the unreadable reply is requested once more
    assert not any("Person 20" in text for text in judged)


def test_second_run_asks_neither_teacher_nor_judge(run, teacher):
    with TeacherServer(doubtful) as judge:
        run.generation |= {"judge": {"endpoint": judge.url, "model": "teacher"}}
        first = run.run()
        calls = len(teacher.requests), len(judge.requests)
        assert run.run().rows == first.rows
        assert (len(teacher.requests), len(judge.requests)) == calls
