"""The pipeline of one row: follow-up requests, samples and majority vote, reasoning, existing replies."""

import pytest

from chat_faults import labelled, malformed_json, reasoning_content, where
from generate_run import GenerateRun, gold_of, nli_row, nli_rows
from teacher_server import gold_teacher

TRAIN, VALIDATION, TEST = nli_rows(6), nli_rows(3, 100), nli_rows(2, 200)
GOLD = gold_of(TRAIN, VALIDATION, TEST)
ROW = "Person 1 "


@pytest.fixture
def teacher():
    with gold_teacher(GOLD) as server:
        yield server


@pytest.fixture
def run(tmp_path, teacher):
    return GenerateRun(tmp_path, teacher.url, train=TRAIN, validation=VALIDATION, test=TEST)


def answers(run: GenerateRun) -> list[str]:
    return [row["completion"][0]["content"] for row in run.rows("train")]


def requests_about(teacher, text: str):
    return [request for request in teacher.requests if any(text in turn["content"] for turn in request.messages)]


# --- a second try


def test_unreadable_reply_is_requested_once_more_with_what_was_wrong(run, teacher):
    run.generation = {"chainOfThought": True}
    teacher.faults = lambda call: malformed_json() if ROW in call.text and len(call.messages) == 2 else None
    assert run.run().rows.rejected == 0
    first, second = requests_about(teacher, ROW)
    assert second.messages[:2] == first.messages
    assert [turn["role"] for turn in second.messages[2:]] == ["assistant", "user"]
    assert second.messages[3]["content"] == (
        "That reply cannot be used: The reply is not valid JSON. Answer the same request again, in exactly the form"
        " that was asked for."
    )


def test_held_out_row_gets_no_second_try(run, teacher):
    run.generation = {"chainOfThought": True}
    teacher.faults = where("Person 200 ", malformed_json())
    run.run()
    assert len(requests_about(teacher, "Person 200 ")) == 1
    assert [row["reason"] for row in run.rows("test")] == ["bad_json", None]


# --- samples


def sampled(*labels: str):
    """Another label at each request for one row."""
    return lambda call: labelled(labels[call.attempt]) if ROW in call.text else None


def test_answer_that_most_samples_give_is_kept(run, teacher):
    run.generation = {"samples": 3}
    teacher.faults = sampled("contradiction", "entailment", "contradiction")
    result = run.run()
    assert answers(run)[1] == "contradiction"
    assert result.usage.requests == 3 * (6 + 3) + 2


def test_held_out_rows_are_sent_once_with_the_temperature_of_a_single_sample(run, teacher):
    run.generation = {"samples": 3}
    run.run()
    held_out = {row["studentPrompt"][-1]["content"] for row in run.rows("test")}
    requested = [(request.user_text in held_out, request.body["temperature"]) for request in teacher.requests]
    assert set(requested) == {(True, 0.2), (False, 0.7)}
    assert [is_held_out for is_held_out, _ in requested].count(True) == len(held_out)


def test_kept_row_has_the_answers_of_its_samples_with_their_numbers_the_kept_one_first(run, teacher):
    run.generation = {"samples": 4, "filters": {"minAgreement": 0.5}}
    teacher.faults = sampled("entailment", "contradiction", "contradiction", "neutral")
    run.run()
    kept = run.rows("train")[1]
    assert [(each["completion"][0]["content"], each["count"]) for each in kept["samples"]] == [
        ("contradiction", 2),
        ("entailment", 1),
        ("neutral", 1),
    ]
    assert [each["count"] for each in run.rows("train")[0]["samples"]] == [4]


def test_row_of_one_sample_has_no_samples(run):
    run.run()
    assert list(run.rows("train")[0]) == ["id", "prompt", "completion", "teacher"]


def test_samples_that_do_not_agree_reject_the_row(run, teacher):
    run.generation = {"samples": 2}
    teacher.faults = sampled("contradiction", "entailment")
    run.run()
    assert run.reasons() == ["low_agreement"]
    assert run.rows("rejected")[0]["id"] == "train-2"


def test_too_few_samples_that_agree_reject_the_row(run, teacher):
    run.generation = {"samples": 3, "filters": {"minAgreement": 0.7}}
    teacher.faults = sampled("contradiction", "entailment", "contradiction")
    run.run()
    assert run.reasons() == ["low_agreement"]


def test_several_samples_have_a_higher_temperature_by_default(run, teacher):
    run.generation = {"samples": 2}
    run.run()
    body = teacher.requests[0].body
    assert body["temperature"] == 0.7
    assert "top_p" not in body


def test_samples_that_are_paid_for_are_not_requested_again(run, teacher):
    run.generation = {"samples": 2}
    run.run()
    run.folder, run.generation = "generate-another", {"samples": 3}
    run.run()
    assert len(teacher.requests) == 3 * (6 + 3) + 2


# --- reasoning


@pytest.mark.parametrize("kept", [False, True])
def test_reasoning_is_trained_on_only_if_configured(run, teacher, kept):
    run.generation = {"keepReasoning": kept}
    teacher.faults = where("Person ", reasoning_content("Reading is part of reading and writing."))
    run.run()
    reasoning = "<think>\nReading is part of reading and writing.\n</think>\n\n" if kept else ""
    assert answers(run)[:2] == [f"{reasoning}entailment", f"{reasoning}neutral"]
    beside = None if kept else "Reading is part of reading and writing."
    assert {row.get("reasoning") for row in run.rows("train")} == {beside}


def test_reason_of_a_chain_of_thought_is_the_reasoning_if_there_is_no_other(run):
    run.generation = {"chainOfThought": True, "keepReasoning": True}
    run.run()
    assert answers(run)[0] == (
        "<think>\nHaving weighed the two sentences, I conclude entailment.\n</think>\n\nentailment"
    )


# --- answers that rows hold


def holding(number: int, reply: str) -> dict:
    row = nli_row(number)
    return {"messages": [*row["messages"], {"role": "assistant", "content": reply}]}


def test_existing_reply_is_replaced_by_default(run, teacher):
    run.train = [holding(0, "contradiction"), *TRAIN[1:]]
    run.run()
    assert answers(run)[0] == "entailment"
    assert len(teacher.requests) == 11


def test_existing_reply_is_kept_without_a_request(run, teacher):
    run.train = [holding(0, "Contradiction."), holding(1, "Who knows?"), *TRAIN[2:]]
    run.data = {"train": {"uri": "train.jsonl", "replies": "Keep"}}
    run.run()
    assert answers(run)[0] == "contradiction"
    assert run.reasons() == ["label_not_allowed"]
    assert len(teacher.requests) == 4 + 3 + 2


# --- few rows


def test_a_training_needs_8_rows_and_fewer_are_an_error_before_any_request(run, teacher):
    run.generation = {"minRows": None}
    result = run.run()
    assert (result.exit_code, result.reason) == (2, "TooFewRows")
    assert result.message == (
        "Too few train rows: there are 6, but at least 8 must be kept to train on. 11 rows were read: 6 train, 3"
        " validation and 2 held-out rows. Provide more rows. No request was sent to the teacher."
    )
    assert teacher.requests == []


def test_400_rows_with_a_tenth_for_validation_run_and_the_result_says_what_is_few(tmp_path):
    rows = nli_rows(400)
    with gold_teacher(gold_of(rows)) as teacher:
        run = GenerateRun(tmp_path, teacher.url, train=rows, validation=None, test=None)
        run.data, run.generation = {"validationFraction": 0.1}, {"minRows": None}
        result = run.run()
    assert result.exit_code == 0, result.message
    assert 10 < result.splits["validation"].kept < 30
    assert "held-out rows (scores on fewer than 150 are imprecise)." in result.message
    assert "train rows (" not in result.message


def test_min_rows_of_the_manifest_is_a_hard_minimum(run, teacher):
    run.generation = {"minRows": 7}
    result = run.run()
    assert (result.exit_code, result.reason) == (2, "TooFewRows")
    assert "there are 6, but at least 7 must be kept (generation.minRows)." in result.message
    assert "or lower generation.minRows. No request was sent" in result.message
    assert teacher.requests == []


def test_rows_that_are_all_the_same_are_too_few(run, teacher):
    run.train, run.generation = [nli_row(1, id=str(number)) for number in range(6)], {"minRows": 2}
    result = run.run()
    assert "there are 6, of which some are rejected (duplicate 5), but at least 2 must be kept" in result.message
    assert teacher.requests == []


def test_test_rows_that_are_the_train_rows_leave_none_to_train_on(run, teacher):
    run.train, run.test = TRAIN, TRAIN
    result = run.run()
    assert "leaks_into_test 6" in result.message
    assert teacher.requests == []
