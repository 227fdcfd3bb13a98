"""The generate stage's parts one by one: order of the output, counts, the token estimate, memory."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_api.paths import Artefact, StageFolder, Workspace
from distillery_api.run_config import RunConfig
from distillery_trainer.chat.prices import Spending
from distillery_trainer.chat.reply import Failure, Reply
from distillery_trainer.chat.reply_journal import ReplyJournal
from distillery_trainer.chat.reply_keys import ReplyKeys
from distillery_trainer.data.records import Example, Rejection
from distillery_trainer.filters.rejection import RowRejection
from distillery_trainer.filters.row_counts import RowCounter, no_usable_answer, total
from distillery_trainer.generation import outputs as outputs_module
from distillery_trainer.generation.outputs import Outputs
from distillery_trainer.runtime.errors import TryLater, UserError
from distillery_trainer.tasks import task_for
from distillery_trainer.tasks.read_reply import ParsedReply, read_reply
from generate_run import GenerateRun, nli_row, nli_rows

# --- outputs


@given(st.permutations(range(12)))
def test_rows_go_out_in_the_order_of_the_input(tmp_path_factory, order):
    root = tmp_path_factory.mktemp("workspace")
    outputs = Outputs(StageFolder(root / "generate-a"), Workspace(root))
    for place in order:
        outputs.put(place, Artefact.REJECTED if place % 3 == 0 else Artefact.TRAIN, f"{place}\n".encode())
    outputs.publish("prompt")
    assert (root / "generate-a" / "train.jsonl").read_text().split() == ["1", "2", "4", "5", "7", "8", "10", "11"]
    assert (root / "generate-a" / "rejected.jsonl").read_text().split() == ["0", "3", "6", "9"]


def test_published_early_has_the_finished_rows_and_gaps(tmp_path):
    outputs = Outputs(StageFolder(tmp_path / "generate-a"), Workspace(tmp_path))
    for place in (0, 5, 3):
        outputs.put(place, Artefact.TRAIN, f"{place}\n".encode())
    outputs.publish("prompt")
    assert (tmp_path / "generate-a" / "train.jsonl").read_text().split() == ["0", "3", "5"]


def test_full_until_the_earliest_row_is_there(tmp_path):
    outputs = Outputs(StageFolder(tmp_path / "generate-a"), Workspace(tmp_path))
    outputs.put(1, Artefact.TRAIN, b"a" * outputs_module.WAITING_LIMIT)
    assert not outputs.is_full
    outputs.put(2, Artefact.TRAIN, b"a")
    assert outputs.is_full
    outputs.put(0, Artefact.TRAIN, b"a")
    assert not outputs.is_full
    outputs.drop()


def test_dropped_outputs_leave_nothing(tmp_path):
    outputs = Outputs(StageFolder(tmp_path / "generate-a"), Workspace(tmp_path))
    outputs.put(0, Artefact.TRAIN, b"a")
    outputs.drop()
    assert list((tmp_path / "generate-a").iterdir()) == []


# --- counts


@pytest.mark.parametrize(
    ("rows", "ratio", "unanswered"), [(30, 0.7, 9), (10, 0.7, 3), (11, 0.7, 3), (9, 0.0, 9), (9, 1.0, 0)]
)
def test_unanswered_rows_that_a_split_bears(rows, ratio, unanswered):
    tally = RowCounter("train", rows, ratio, 0)
    rejecting(tally, *["empty"] * unanswered).check(teacher_answered=True)
    if unanswered < rows:
        with pytest.raises(UserError):
            rejecting(tally, "empty").check(teacher_answered=True)


def rejecting(tally: RowCounter, *reasons: str, failure: Failure | None = None, unanswered: bool = True) -> RowCounter:
    for reason in reasons:
        tally.reject(RowRejection(Rejection(reason, ""), unanswered=unanswered, failure=failure))
    return tally


def test_split_fails_with_the_row_that_makes_the_ratio_impossible():
    tally = rejecting(RowCounter("train", 10, 0.7, 1), "empty", "empty", "bad_json")
    tally.check(teacher_answered=True)
    with pytest.raises(
        UserError, match=r"4 of 10 have no usable answer \(empty 3, bad_json 1\), and .* 0.7 allows 3\."
    ) as caught:
        rejecting(tally, "empty").check(teacher_answered=True)
    assert caught.value.reason == "TooFewRows"


def test_rows_that_were_not_asked_do_not_count_for_the_ratio():
    tally = RowCounter("train", 10, 1.0, 5, {"duplicate": 4})
    rejecting(tally, *["duplicate"] * 4, unanswered=False).check(teacher_answered=True)
    assert tally.rejected == 4


def test_answers_that_a_filter_rejects_count_for_the_fewest_rows_only():
    tally = rejecting(RowCounter("train", 10, 1.0, 8), "too_long", "too_long", unanswered=False)
    tally.check(teacher_answered=True)
    with pytest.raises(UserError, match=r"3 of 10 are rejected \(too_long 3\), and at least 8 must be kept"):
        rejecting(tally, "too_long", unanswered=False).check(teacher_answered=True)


def test_split_that_is_too_small_to_begin_with_says_so_before_a_call():
    with pytest.raises(UserError, match="there are 64, and at least 65 must be kept"):
        RowCounter("train", 64, 0.7, 65)
    with pytest.raises(UserError, match="there are 70, of which duplicate 6 are not asked, and at least 65"):
        RowCounter("train", 70, 0.7, 65, {"duplicate": 6})


def test_split_that_failed_calls_break_is_a_failed_generation():
    tally = rejecting(RowCounter("train", 4, 0.7, 1), "http_400", "http_400", failure=Failure("http_400", ""))
    with pytest.raises(UserError) as caught:
        tally.check(teacher_answered=True)
    assert caught.value.reason == "GenerationFailed"


def test_teacher_that_answered_nothing_is_tried_later_only_if_that_may_pass():
    passing, final = Failure("http_503", "", passing=True), Failure("http_400", "")
    with pytest.raises(TryLater):
        rejecting(RowCounter("train", 2, 1.0, 1), "http_503", failure=passing).check(teacher_answered=False)
    with pytest.raises(UserError):
        rejecting(RowCounter("train", 2, 1.0, 1), "http_400", failure=final).check(teacher_answered=False)


def test_first_rows_without_any_answer_say_why():
    unreadable = RowRejection(Rejection("bad_json", "The reply is not valid JSON."), unanswered=True)
    error = no_usable_answer([unreadable, unreadable])
    assert error.exit_code == 2
    assert error.message.startswith("None of the first 2 rows got a usable answer (bad_json 2), so the others are not")
    away = RowRejection(
        Rejection("http_503", "HTTP 503"), unanswered=True, failure=Failure("http_503", "", passing=True)
    )
    assert no_usable_answer([away]).exit_code == 3


def test_counts_of_all_splits():
    train = rejecting(RowCounter("train", 5, 0, 0), "empty", "empty")
    validation = rejecting(RowCounter("validation", 5, 0, 0), "empty")
    train.kept = 3
    assert total([train, validation]).model_dump() == {
        "read": 6,
        "kept": 3,
        "rejected": 3,
        "rejected_by_reason": {"empty": 3},
    }


# --- replies


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("neutral", "length", output_tokens=128), "truncated"),
        (Reply("", "max_tokens"), "truncated"),
        (Reply("neutral", "tool_calls"), "truncated"),
        (Reply("", "content_filter"), "content_filter"),
        (Reply("", "stop", refusal="I cannot."), "refused"),
        (Failure("timeout", "No whole reply."), "timeout"),
    ],
)
def test_reply_is_rejected_before_its_text_is_read(tmp_path, reply, reason):
    task = task_for(RunConfig.read(GenerateRun(tmp_path, "http://127.0.0.1:9/v1").config_file))
    assert read_reply(reply, task, "").rejection.reason == reason


def test_whole_reply_is_read(tmp_path):
    task = task_for(RunConfig.read(GenerateRun(tmp_path, "http://127.0.0.1:9/v1").config_file))
    assert read_reply(Reply("Neutral.", "stop"), task, "") == ParsedReply("neutral")


# --- memory

PEAK = """
import re, sys
from distillery_trainer.__main__ import main
exit_code = main(["generate", "--config", sys.argv[1]])
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
sys.exit(exit_code)
"""


def peak_mebibytes(folder: Path, rows: int) -> float:
    """Peak memory of a stage whose replies are all in the journal, with rows of 2 kB."""
    folder.mkdir()
    train = [nli_row(number, id=f"row-{number}", metadata={"note": "x" * 1800}) for number in range(rows)]
    validation, test = nli_rows(2, 90_000), nli_rows(2, 95_000)
    run = GenerateRun(folder, "http://127.0.0.1:9/v1", train=train, validation=validation, test=test)
    config = RunConfig.read(run.config_file)
    task = task_for(config)
    sampling = task.request_parameters()
    keys = ReplyKeys("teacher", sampling)
    with ReplyJournal(run.workspace / "replies", "generate-earlier") as journal:
        for row in [*train, *validation, *test]:
            messages = task.teacher_messages(Example("train", 1, "x", row["messages"]))
            journal.add_reply(keys.key(messages), Reply("neutral", "stop"), Spending())
    command = [sys.executable, "-c", PEAK, str(run.config_file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.result.splits["train"].kept == rows
    return int(done.stdout) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory from /proc")
def test_memory_does_not_grow_with_the_file(tmp_path):
    few, many = peak_mebibytes(tmp_path / "few", 1_000), peak_mebibytes(tmp_path / "many", 20_000)
    # 19,000 more rows are 40 MB of file. What is held of a row, its place in the journal, is 16 bytes.
    assert many - few < 8
