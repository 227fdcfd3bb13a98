"""A stage that hangs ends by itself, and says where it hung."""

import os
import subprocess
import sys

import pytest

from distillery_api.reasons import Reason
from distillery_api.stage_result import StageResult
from distillery_trainer.runtime.watchdog import IdleTime
from generate_run import GenerateRun

HANGS_IN_NATIVE_CODE = """
import ctypes, time
from distillery_trainer.runtime.watchdog import watched
with watched(lambda: 0, 0.5, lambda: None, last_words=0.5):
    ctypes.PyDLL(None).sleep(60)  # holds the interpreter's lock, so that no other thread runs
"""


class Stage:
    """What a watchdog sees of a stage."""

    activity = 0
    bytes_moved = 0


def test_time_without_activity_is_idle_until_something_moves():
    stage = Stage()
    idle = IdleTime(lambda: stage.activity, 10, lambda: stage.bytes_moved)
    seconds = []
    for activity, moved in [(0, 0), (0, 1000), (1, 1000), (1, 2000), (1, 5_000_000), (1, 5_100_000), (1, 5_200_000)]:
        stage.activity, stage.bytes_moved = activity, moved
        idle.add(10)
        seconds.append(idle.seconds)
    assert seconds == [10, 20, 0, 10, 0, 10, 20]


def test_time_in_which_the_process_was_stopped_is_not_idle():
    idle = IdleTime(lambda: 0, 10, lambda: 0)
    idle.add(86_400)
    assert idle.seconds == 20


def test_stage_that_hangs_ends_with_a_result_that_says_so(tmp_path):
    run = GenerateRun(tmp_path, "http://127.0.0.1:9/v1", config={"progressTimeoutSeconds": 2})
    assert run.config_file
    (tmp_path / "train.jsonl").unlink()
    os.mkfifo(tmp_path / "train.jsonl")  # nobody ever writes to it
    command = [sys.executable, "-m", "distillery_trainer", "generate", "--config", str(tmp_path / "run.json")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert ended.returncode == 3
    message = (
        "The generate stage made no progress for 2 s, and was ended. The log shows what each of its threads was doing."
        " If nothing hangs, raise generation.progressTimeout."
    )
    assert message in ended.stderr
    assert "most recent call first" in ended.stderr
    for file in (run.workspace / run.folder / "result.json", tmp_path / "termination-log"):
        result = StageResult.model_validate_json(file.read_text())
        assert (result.exit_code, result.reason, result.message) == (3, Reason.NO_PROGRESS, message)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's sleep")
def test_process_that_hangs_in_native_code_ends_too():
    command = [sys.executable, "-c", HANGS_IN_NATIVE_CODE]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert ended.returncode == 1
    assert "Timeout (0:00:01)!" in ended.stderr
