"""What a running stage reports over HTTP: progress, estimate, health."""

import signal
import time
import urllib.request

import pytest

from distillery_api.stage import Stage
from distillery_trainer.runtime.stage_metrics import ProgressReporter, progress_server
from generate_run import GenerateRun, gold_of, nli_rows
from teacher_server import gold_teacher


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.read().decode()


def test_taken_metrics_port_does_not_stop_the_stage(tmp_path, capsys):
    with progress_server(ProgressReporter(Stage.GENERATE), "127.0.0.1", 0, tmp_path / "metrics-port") as port:
        run = GenerateRun(tmp_path, "http://127.0.0.1:9/v1", train=b"", config={"metricsPort": port})
        assert run.run().reason == "InvalidData"
    assert f"Progress is not available: port {port} on 127.0.0.1" in capsys.readouterr().err


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
