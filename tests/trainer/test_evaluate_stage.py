"""The evaluate stage on a tiny model: the table, and what counts as wrong."""

import json
import math
import shutil

import pytest

from chat_protocol import Answer
from chat_server import TeacherServer
from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.stage_result import StageOutcome
from distillery_trainer.data.rows import HeldOutRow
from distillery_trainer.runtime.checked_lines import checked_line
from tiny_model import write_tiny_model
from train_evaluate_run import TrainEvaluateRun, held_out_row, held_out_rows, read_rows, training_row


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def evaluated(run, tiny):
    """The stage's result, with the untrained model standing for the trained one."""
    trained = run.folder(Stage.TRAIN) / "model"
    if not trained.exists():
        shutil.copytree(tiny, trained)
    process = run.start(Stage.EVALUATE)
    _, said = process.communicate(timeout=300)
    return process.returncode, said


SHORT_REPLIES = {"sampling": {"maxTokens": 8}}


def test_all_systems_are_evaluated_on_the_same_rows(tiny, tmp_path):
    run = TrainEvaluateRun(tmp_path, tiny, generation=SHORT_REPLIES)
    code, said = evaluated(run, tiny)

    assert code == 0, said
    table = run.result(Stage.EVALUATE).evaluation
    assert (table.metric, table.sample_size, table.held_out_from_validation) == ("accuracy", 6, False)
    assert table.teacher.score == 1.0
    assert table.base == table.student.model_copy(update={"latency_seconds": table.base.latency_seconds})
    assert table.student.unreadable == 1.0  # random weights write no label
    assert table.student.score == 0.0
    assert table.majority.score == pytest.approx(1 / 3, abs=1e-4)
    assert table.shallow.score == 1.0  # the label is a word of the premise
    assert (table.verdict.kind, table.gap_closed) == ("TooFewRows", None)
    assert "6 held-out rows are too few to say anything about the student." in run.result(Stage.EVALUATE).message
    predictions = read_rows(run.folder(Stage.EVALUATE) / "predictions.jsonl")
    assert len(predictions) == 6 * 6
    user_messages = {row["studentPrompt"][-1]["content"] for row in held_out_rows(6)}
    assert {row["userMessage"] for row in predictions} == user_messages
    assert {row["reason"] for row in predictions if row["system"] == "teacher"} == {None}
    assert None not in {row["reason"] for row in predictions if row["system"] == "student"}
    assert {row["system"] for row in predictions} == {
        "teacher",
        "baseTeacherPrompt",
        "base",
        "student",
        "majority",
        "shallow",
    }


def test_missing_teacher_reply_is_a_wrong_answer(tiny, tmp_path):
    unanswered = held_out_row(0, reply=None, answer=None, reason="timeout", outputTokens=None)
    run = TrainEvaluateRun(tmp_path, tiny, test=[unanswered, held_out_row(1)], generation=SHORT_REPLIES)
    code, said = evaluated(run, tiny)
    assert code == 0, said
    assert run.result(Stage.EVALUATE).evaluation.teacher.score == 0.5
    assert run.result(Stage.EVALUATE).evaluation.teacher.unreadable == 0.5


def test_without_gold_the_measure_is_agreement_with_the_teacher(tiny, tmp_path):
    rows = [{**row, "gold": None, "fromValidation": True} for row in held_out_rows(4)]
    run = TrainEvaluateRun(tmp_path, tiny, test=rows, generation=SHORT_REPLIES)
    code, said = evaluated(run, tiny)
    assert code == 0, said
    table = run.result(Stage.EVALUATE).evaluation
    assert (table.metric, table.held_out_from_validation) == ("agreement", True)
    assert table.teacher is None
    assert table.gap_closed is None
    assert "taken from the validation split" in said


def test_restarted_stage_generates_no_reply_twice(tiny, tmp_path):
    run = TrainEvaluateRun(tmp_path, tiny, generation=SHORT_REPLIES)
    evaluated(run, tiny)
    folder = run.folder(Stage.EVALUATE)
    first = run.result(Stage.EVALUATE).evaluation
    for gone in ("result.json", "predictions.jsonl"):
        (folder / gone).unlink()
    kept = {path.name: path.read_bytes() for path in folder.glob("replies-*.jsonl")}
    assert len(kept) == 3
    code, said = evaluated(run, tiny)
    assert code == 0, said
    assert {path.name: path.read_bytes() for path in folder.glob("replies-*.jsonl")} == kept
    again = run.result(Stage.EVALUATE).evaluation
    assert first.busy is not None
    assert again == first  # with what the machine did while the latencies were measured


def test_damaged_replies_are_named_and_generated_again(tiny, tmp_path):
    run = TrainEvaluateRun(tmp_path, tiny, generation=SHORT_REPLIES)
    evaluated(run, tiny)
    folder = run.folder(Stage.EVALUATE)
    predictions = (folder / "predictions.jsonl").read_bytes()
    (folder / "result.json").unlink()
    student = folder / "replies-student.jsonl"
    lines = student.read_bytes().splitlines(keepends=True)
    newer = checked_line({"row": 0, "text": "entailment", "tone": "kind"})
    other_row = checked_line({"row": 6, "text": "entailment"})
    lines[:2] = [lines[0].replace(b'"row":', b'"roW":'), newer, b"\0\0\n", other_row, lines[1], lines[2][:20]]
    student.write_bytes(b"".join(lines) + b'{"row": 1, "te')
    code, said = evaluated(run, tiny)
    assert code == 0, said
    assert (folder / "predictions.jsonl").read_bytes() == predictions
    assert said.splitlines()[0] == (
        f"5 lines are damaged, or of a newer release, and are left out; the first is {student}, line 1. Lost replies"
        " are generated again."
    )
    (folder / "result.json").unlink()
    assert "damaged" not in evaluated(run, tiny)[1]


def test_latency_is_measured_by_the_attempt_after_a_kill(tiny, tmp_path):
    run = TrainEvaluateRun(tmp_path, tiny, generation=SHORT_REPLIES)
    evaluated(run, tiny)
    folder = run.folder(Stage.EVALUATE)
    (folder / "result.json").unlink()
    student = folder / "replies-student.jsonl"
    lines = student.read_bytes().splitlines(keepends=True)
    student.write_bytes(b"".join(line for line in lines if b'"latency_seconds":null' in line))
    assert evaluated(run, tiny)[0] == 0
    assert run.result(Stage.EVALUATE).evaluation.student.latency_seconds > 0


def test_no_row_to_score_is_a_user_error(tiny, tmp_path):
    rows = [held_out_row(0, reply=None, answer=None) | {"gold": None}]
    run = TrainEvaluateRun(tmp_path, tiny, test=rows)
    code, said = evaluated(run, tiny)
    assert code == 2
    assert run.result(Stage.EVALUATE).state is StageOutcome.FAILED
    assert run.result(Stage.EVALUATE).reason is Reason.TOO_FEW_ROWS
    assert "none has gold or an answer" in said


TALK = [
    held_out_row(
        number,
        short=(messages := [{"role": "user", "content": f"What is {number} and {number}?"}]),
        teacherPrompt=messages,
        gold=f"It is {2 * number}.",
        reply=f"That is {2 * number}.",
        answer=f"That is {2 * number}.",
    )
    for number in range(3)
]


def test_conversation_has_rouge_perplexity_and_a_judge_that_may_answer_in_a_later_attempt(tiny, tmp_path):
    down = {"judge": {"endpoint": "http://127.0.0.1:9/v1", "model": "other"}}
    run = TrainEvaluateRun(
        tmp_path, tiny, test=TALK, task="Conversation", labels=(), generation=SHORT_REPLIES, evaluation=down
    )
    code, said = evaluated(run, tiny)
    assert code == 3
    assert "The judge (other at http://127.0.0.1:9/v1) cannot be reached" in said

    student = run.folder(Stage.EVALUATE) / "replies-student.jsonl"
    kept = student.read_bytes()
    verdict = Answer(json.dumps({"reason": "Both are odd.", "better": "tie"}))
    with TeacherServer(lambda _: verdict, models=("other",)) as judge:
        run.evaluation = {"judge": {"endpoint": judge.url, "model": "other"}}
        code, said = evaluated(run, tiny)
    assert code == 0, said
    assert student.read_bytes() == kept

    assert "ROUGE-L on 3 held-out rows: student 0.000" in said
    table = run.result(Stage.EVALUATE).evaluation
    assert (table.metric, table.judge, table.majority, table.shallow, table.lead) == ("rougeL", "other", *[None] * 3)
    # "That is 0." beside "It is 0.": two words of three.
    assert table.teacher.score == pytest.approx(2 / 3, abs=1e-4)
    assert (table.teacher.win_rate, table.teacher.words, table.teacher.perplexity) == (0.5, 3.0, None)
    assert table.student.unreadable == 1.0  # random weights never end
    assert table.student.win_rate == 0.0
    assert table.student.perplexity == pytest.approx(49152, rel=0.5)  # random weights know nothing
    assert math.isclose(table.base.perplexity, table.student.perplexity)
    # The prompts are the same, so one reply counts for both: the model is asked once.
    assert table.base_teacher_prompt == table.base
    assert not (run.folder(Stage.EVALUATE) / "replies-baseTeacherPrompt.jsonl").exists()


def test_summaries_are_compared_with_the_beginning_of_their_source(tiny, tmp_path):
    source = "Bergen opened its harbour in 1070. Then it burnt, and burnt again, and was built again."
    rows = [
        held_out_row(
            number,
            short=[{"role": "system", "content": "Summarise."}, {"role": "user", "content": source}],
            teacherPrompt=[{"role": "system", "content": "Summarise four times."}, {"role": "user", "content": source}],
            gold="Bergen opened its harbour in 1070.",
            reply="Bergen burnt.",
            answer="Bergen burnt.",
        )
        for number in range(2)
    ]
    generation = {"maxSummaryWords": 10, "sampling": {"maxTokens": 8}, "filters": {"disagreesWithGold": True}}
    run = TrainEvaluateRun(tmp_path, tiny, test=rows, train=[], task="Summarization", labels=(), generation=generation)
    code, said = evaluated(run, tiny)
    assert code == 0, said
    table = run.result(Stage.EVALUATE).evaluation
    # "Bergen opened its harbour in 1070. Then it burnt, and": 6 of 10 words, 6 of 6.
    assert (table.lead.score, table.lead.words) == (0.75, 10.0)
    assert (table.teacher.score, table.teacher.invented_numbers) == (0.25, 0.0)
    assert (table.partly_supervised, table.majority) == (True, None)
    assert "partly supervised" in said
    assert {row["system"] for row in read_rows(run.folder(Stage.EVALUATE) / "predictions.jsonl")} == {
        "teacher",
        "baseTeacherPrompt",
        "base",
        "student",
        "lead",
    }


def test_numbers_are_compared_by_value(tiny, tmp_path):
    rows = [held_out_row(0, gold="1,000", reply="It is 1000.0.", answer="1000"), held_out_row(1, gold="7", answer="8")]
    train = [training_row(number, answer="7") for number in range(3)]
    run = TrainEvaluateRun(tmp_path, tiny, test=rows, train=train, task="Math", labels=(), generation=SHORT_REPLIES)
    code, said = evaluated(run, tiny)
    assert code == 0, said
    table = run.result(Stage.EVALUATE).evaluation
    assert (table.metric, table.teacher.score, table.majority.score, table.shallow) == ("accuracy", 0.5, 0.5, None)
    assert (table.student.macro_f1, table.student.strict) == (None, 0.0)


def test_held_out_rows_written_under_earlier_names_are_read():
    row = {"id": "a", "gold": "1", "reply": None, "answer": None, "reason": None}
    row |= {"inputTokens": None, "outputTokens": None, "latencySeconds": None}
    messages = [{"role": "user", "content": "What?"}]
    earlier = HeldOutRow.read({**row, "short": messages, "elaborate": [], "carved": True})
    assert earlier == HeldOutRow.read({**row, "studentPrompt": messages, "teacherPrompt": [], "fromValidation": True})
