"""A production log through the whole stage: its replies are used as the teacher's, its failed calls are counted."""

from generate_run import GenerateRun, jsonl, nli_row, nli_rows
from teacher_server import gold_teacher

VALIDATION, TEST = nli_rows(6, 100), nli_rows(3, 200)


def call(number: int, reply: str | None, status: str = "success", finish: str = "stop") -> dict:
    """One entry of the log."""
    choices = [{"index": 0, "message": {"role": "assistant", "content": reply}, "finish_reason": finish}]
    response = {"object": "chat.completion", "choices": choices} if reply else None
    return {
        "id": f"call-{number}",
        "status": status,
        "messages": nli_row(number)["messages"],
        "response": response,
        "error_str": None if reply else "RateLimitError",
    }


LOG = [call(0, "Neutral."), call(1, None, "failure"), call(2, "entailm", finish="length"), call(3, "contradiction")]
KNOWN = {row["messages"][-1]["content"]: row.get("gold", "entailment") for row in [nli_row(2), *VALIDATION, *TEST]}


def test_kept_replies_are_not_requested_and_failed_calls_are_listed(tmp_path):
    with gold_teacher(KNOWN) as teacher:
        run = GenerateRun(tmp_path, teacher.url, train=jsonl(LOG), validation=VALIDATION, test=TEST)
        run.data = {"train": {"uri": "train.jsonl", "replies": "Keep"}}
        result = run.run()
    assert result.exit_code == 0, result.message
    kept = {row["id"]: row["completion"][0]["content"] for row in run.rows("train")}
    assert kept == {"call-0": "neutral", "call-2": "entailment", "call-3": "contradiction"}
    assert [(row["line"], row["reason"]) for row in run.rows("rejected")] == [(2, "log_call_failed")]
    assert len(teacher.requests) == 1 + len(VALIDATION) + len(TEST)
    assert result.splits["train"].rejected_by_reason == {"log_call_failed": 1}


def test_responses_beside_prompts_are_not_requested(tmp_path):
    rows = [{"prompt": nli_row(number)["messages"][0]["content"], "response": "neutral"} for number in range(3)]
    with gold_teacher(KNOWN) as teacher:
        run = GenerateRun(tmp_path, teacher.url, train=jsonl(rows), validation=VALIDATION, test=TEST)
        run.data = {"train": {"uri": "train.jsonl", "replies": "Keep"}}
        result = run.run()
    assert result.exit_code == 0, result.message
    assert [row["completion"][0]["content"] for row in run.rows("train")] == ["neutral"] * 3
    assert len(teacher.requests) == len(VALIDATION) + len(TEST)


def test_keeping_replies_that_no_row_has_ends_the_stage_before_a_request(tmp_path):
    with gold_teacher(KNOWN) as teacher:
        run = GenerateRun(tmp_path, teacher.url, validation=VALIDATION, test=TEST)
        run.data = {"train": {"uri": "train.jsonl", "replies": "Keep"}}
        result = run.run()
    assert (result.exit_code, result.reason) == (2, "InvalidData")
    assert result.message.startswith("data.train: train.jsonl: replies is Keep, but no row has a reply.")
    assert teacher.requests == []


def test_kept_replies_of_held_out_rows_are_the_teachers_answers(tmp_path):
    with gold_teacher(KNOWN) as teacher:
        run = GenerateRun(tmp_path, teacher.url, train=jsonl(LOG), validation=VALIDATION, test=jsonl(LOG))
        run.data = {split: {"uri": f"{split}.jsonl", "replies": "Keep"} for split in ("train", "test")}
        run.generation = {"filters": {"leakage": "None"}, "minRows": 1}
        result = run.run()
    assert result.exit_code == 0, result.message
    assert {row["id"]: row["answer"] for row in run.rows("test")} == {
        "call-0": "neutral",
        "call-2": "entailment",
        "call-3": "contradiction",
    }
    assert len(teacher.requests) == 1 + len(VALIDATION)  # the truncated reply is requested once, for both splits
    assert result.estimate.requests == 1 + len(VALIDATION) + 1
    test = result.splits["test"]
    assert (test.read, test.kept, test.rejected_by_reason) == (4, 3, {"log_call_failed": 1})


def test_replaced_replies_are_requested(tmp_path):
    with gold_teacher({nli_row(number)["messages"][0]["content"]: "neutral" for number in range(4)} | KNOWN) as teacher:
        run = GenerateRun(tmp_path, teacher.url, train=jsonl(LOG), validation=VALIDATION, test=TEST)
        run.run()
    assert len(teacher.requests) == 3 + len(VALIDATION) + len(TEST)
