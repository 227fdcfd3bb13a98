"""`python -m distillery_trainer`: bad configs, progress over HTTP, and what is written however a stage ends."""

import contextlib
import json
import os
import resource
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from distillery_api.stage import Stage
from distillery_trainer.__main__ import main
from distillery_trainer.runtime.errors import Terminated, UserError, storage_errors_explained
from distillery_trainer.runtime.files import write_atomically
from distillery_trainer.runtime.signals import on_termination, raise_terminated, termination_deferred
from distillery_trainer.runtime.stage_metrics import ProgressReporter, progress_server
from generate_run import GenerateRun, gold_of, nli_rows
from teacher_server import gold_teacher


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.read().decode()


# --- the config


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "is not a run's config:\n  the file: Invalid JSON"),
        (b"\xff\xfe", "is not UTF-8 text."),
        (b"{}", "  stage: Field required"),
    ],
)
def test_bad_config_is_told_in_words(tmp_path, capsys, content, words):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    assert main(["generate", "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_missing_config_is_told_in_words(tmp_path, capsys):
    assert main(["generate", "--config", str(tmp_path / "gone.json")]) == 2
    assert capsys.readouterr().err == f"{tmp_path}/gone.json: No such file or directory.\n"


def test_config_of_another_stage_is_refused(tmp_path, capsys):
    run = GenerateRun(tmp_path, "http://127.0.0.1:9/v1")
    assert main(["train", "--config", str(run.config_file)]) == 2
    assert capsys.readouterr().err.endswith("run.json is the config of the stage generate, not of train.\n")


def test_broken_result_of_an_earlier_attempt_is_replaced(tmp_path):
    rows = nli_rows(12), nli_rows(6, 100), nli_rows(3, 200)
    with gold_teacher(gold_of(*rows)) as teacher:
        run = GenerateRun(tmp_path, teacher.url)
        write_atomically(run.workspace / run.folder / "result.json", b'{"state": "Do')
        assert run.run().state == "Done"


def test_times_of_the_attempt_stand_in_the_result(tmp_path):
    result = GenerateRun(tmp_path, "http://127.0.0.1:9/v1", train=b"").run()
    assert result.start_time <= result.completion_time


def test_termination_message_that_cannot_be_written_is_only_said(tmp_path, capsys):
    run = GenerateRun(tmp_path, "http://127.0.0.1:9/v1", train=b"")
    run.config = {"terminationMessagePath": str(tmp_path / "gone" / "log")}
    assert run.run().exit_code == 2
    assert "The termination message could not be written" in capsys.readouterr().err


def test_long_message_is_cut_for_the_termination_message(tmp_path):
    run = GenerateRun(tmp_path, "http://127.0.0.1:9/v1", train=b'{"messages": 1}\n' * 40)
    assert len(run.run().message) > 1500
    assert len(run.termination_message.encode()) <= 2048
    assert json.loads(run.termination_message)["reason"] == "InvalidData"


def test_taken_metrics_port_does_not_stop_the_stage(tmp_path, capsys):
    with progress_server(ProgressReporter(Stage.GENERATE), "127.0.0.1", 0, tmp_path / "metrics-port") as port:
        run = GenerateRun(tmp_path, "http://127.0.0.1:9/v1", train=b"", config={"metricsPort": port})
        assert run.run().reason == "InvalidData"
    assert f"No progress is shown: port {port} of 127.0.0.1" in capsys.readouterr().err


# --- progress


def test_progress_is_served_while_the_stage_runs(tmp_path):
    train = nli_rows(40)
    gold = gold_of(train, nli_rows(6, 100), nli_rows(3, 200))
    with gold_teacher(gold, latency=0.15) as teacher:
        run = GenerateRun(tmp_path, teacher.url, train=train)
        process = run.start()
        try:
            text = _first_progress(run)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    assert 'distillery_stage_total{stage="generate",unit="rows"} 49.0' in text
    assert 'distillery_teacher_requests_total{outcome="ok"}' in text
    assert 'distillery_teacher_tokens_total{direction="input"}' in text


def _first_progress(run: GenerateRun) -> str:
    port_file = run.workspace / run.folder / "metrics-port"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if port_file.exists():
            text = get(int(port_file.read_text()), "/metrics")
            if 'outcome="ok"' in text and "distillery_stage_total{" in text:
                return text
        time.sleep(0.05)
    raise AssertionError("no progress within a minute")


def test_health_and_unknown_paths(tmp_path):
    with progress_server(ProgressReporter(Stage.TRAIN), "127.0.0.1", 0, tmp_path / "metrics-port") as port:
        assert get(port, "/healthz") == "ok\n"
        assert (tmp_path / "metrics-port").read_text() == str(port)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(port, "/")


def test_new_unit_replaces_the_last_one(tmp_path):
    reporter = ProgressReporter(Stage.TRAIN)
    with progress_server(reporter, "127.0.0.1", 0, tmp_path / "metrics-port") as port:
        reporter.update(3, 10, "rows")
        reporter.update(1, 4, "steps")
        reporter.row_rejected("train", "too_long")
        text = get(port, "/metrics")
    assert 'distillery_stage_done{stage="train",unit="steps"} 1.0' in text
    assert 'unit="rows"' not in text
    assert 'distillery_rows_rejected_total{reason="too_long",split="train"} 1.0' in text


# --- writing and stopping


def test_full_device_is_a_user_error():
    def write() -> None:
        with storage_errors_explained("/dev/full"):
            descriptor = os.open("/dev/full", os.O_WRONLY)
            try:
                os.write(descriptor, b"a")
            finally:
                os.close(descriptor)

    with pytest.raises(UserError, match="/dev/full cannot be written: no space is left"):
        write()


def test_file_that_cannot_be_written_is_a_user_error(tmp_path):
    (tmp_path / "folder").write_bytes(b"a file")
    with pytest.raises(UserError, match="cannot be written: a part of the path is a file"):
        write_atomically(tmp_path / "folder" / "inner" / "file", b"one")


def test_file_that_outgrows_the_volume_is_a_user_error_and_leaves_no_draft(tmp_path):
    with limited_file_size(1000), pytest.raises(UserError, match="file cannot be written: the file is too big"):
        write_atomically(tmp_path / "file", b"a" * 2000)
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def limited_file_size(size: int) -> Iterator[None]:
    """Inside the block no file of this process may grow beyond `size` bytes."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_signal_raises_terminated_unless_the_stage_has_something_to_finish():
    seen = threading.Event()
    with on_termination(raise_terminated):
        with on_termination(seen.set):
            os.kill(os.getpid(), signal.SIGTERM)
            assert seen.wait(1)
        with pytest.raises(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)


def test_signal_that_is_put_off_comes_again():
    steps = []

    def put_off() -> None:
        with termination_deferred():
            signal.raise_signal(signal.SIGTERM)
            steps.append("after the signal")
        steps.append("after the block")

    with on_termination(raise_terminated), pytest.raises(Terminated):
        put_off()
    assert steps == ["after the signal"]
