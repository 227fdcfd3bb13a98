"""An evaluation by several processes: the same table, and what is left of processes that were lost."""

import json
import shutil

import psutil
import pytest

from distillery_api.stage import Stage
from distillery_trainer.evaluation.row_shares import shares
from distillery_trainer.runtime.checked_lines import checked_line
from tiny_model import write_tiny_model
from train_evaluate_run import TrainEvaluateRun, held_out_row, held_out_rows, read_rows
from waiting import wait_until

TALK = [held_out_row(number, gold=f"It is {number}.", answer=f"That is {number}.") for number in range(7)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def prepared(folder, tiny, **changes):
    """A run whose student is the untrained model."""
    run = TrainEvaluateRun(folder, tiny, **{"generation": {"sampling": {"maxTokens": 24}}, **changes})
    shutil.copytree(tiny, run.folder(Stage.TRAIN) / "model")
    return run


def finish(process):
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def children(process):
    """The processes of a stage, in order, once there are two."""
    found = psutil.Process(process.pid).children
    wait_until(lambda: len(found()) == 2, seconds=200)
    return sorted(found(), key=lambda child: child.pid)


def table(run):
    """The result table without what was measured of time, and all answers."""
    found = json.loads((run.folder(Stage.EVALUATE) / "result.json").read_text())["evaluation"]
    found.pop("busy", None)
    for system in found.values():
        if isinstance(system, dict):
            system.pop("latencySeconds", None)
    return found, read_rows(run.folder(Stage.EVALUATE) / "predictions.jsonl")


def stored(run):
    """The texts of each reply file, by row."""
    files = sorted(run.folder(Stage.EVALUATE).glob("replies-*.jsonl"))
    return {file.name: {row["row"]: row["text"] for row in read_rows(file)} for file in files}


def test_rows_without_a_reply_are_divided_among_the_processes():
    first, second = shares({"base": [0, 2, 3, 6, 7], "student": [4]}, 2)
    assert first.rows == {"base": [0, 3, 7], "student": [4]}
    assert second.rows == {"base": [2, 6], "student": []}


def test_several_processes_make_the_table_of_one(tiny, tmp_path):
    talk = {"test": TALK, "task": "Conversation", "labels": ()}
    alone, together = prepared(tmp_path / "one", tiny, **talk), prepared(tmp_path / "two", tiny, **talk, processes=2)
    code, said = finish(alone.start(Stage.EVALUATE))
    assert code == 0, said
    code, said = finish(together.start(Stage.EVALUATE))
    assert code == 0, said
    assert table(together) == table(alone)
    assert table(together)[0]["student"]["perplexity"] > 1  # each process measures its own rows
    assert stored(together) == stored(alone)


def test_replies_of_processes_that_were_killed_are_kept_and_the_rest_is_answered(tiny, tmp_path):
    run = prepared(tmp_path, tiny, test=held_out_rows(8), processes=2)
    process = run.start(Stage.EVALUATE)
    working = children(process)
    replies = run.folder(Stage.EVALUATE) / "replies-baseTeacherPrompt.process-0.jsonl"
    wait_until(lambda: replies.read_text().count("\n") == 4, seconds=200)
    process.kill()
    process.communicate()
    assert psutil.wait_procs(working, timeout=60)[1] == []  # they end with the stage
    marked = [{**row, "text": "kept"} for row in read_rows(replies)]
    assert sorted(row["row"] for row in marked) == [0, 2, 4, 6]
    replies.write_bytes(b"".join(checked_line({key: row[key] for key in row if key != "crc32"}) for row in marked))

    process = run.start(Stage.EVALUATE)
    children(process)[0].kill()
    code, said = finish(process)
    assert code == 0, said
    assert "Process 0 of 2 ended with SIGKILL. The rows that it left are answered by one process." in said
    after = stored(run)
    assert sorted(after) == ["replies-base.jsonl", "replies-baseTeacherPrompt.jsonl", "replies-student.jsonl"]
    assert {len(rows) for rows in after.values()} == {8}
    texts = after["replies-baseTeacherPrompt.jsonl"]
    assert [row for row in range(8) if texts[row] == "kept"] == [0, 2, 4, 6]
