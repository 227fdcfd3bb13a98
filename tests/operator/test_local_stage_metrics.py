import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from distillery_api.paths import StageFolder
from distillery_api.reasons import Reason
from distillery_api.stage_result import Progress
from distillery_operator.local.run_result import RunResult, RunState
from distillery_operator.local.stage_metrics import EtaEstimator, read_metrics
from distillery_operator.local.student_server import StudentServer


@pytest.mark.parametrize("port", ["", "none", "1"])
def test_stage_that_does_not_respond_is_no_error(tmp_path, port):
    assert read_metrics(StageFolder(tmp_path)) is None
    (tmp_path / "metrics-port").write_text(port)
    assert read_metrics(StageFolder(tmp_path)) is None


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'distillery_stage_done{stage="train",unit="steps"} 3\n')

    def log_message(self, *arguments):
        pass


@pytest.fixture
def answering_port():
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def unreachable_proxy(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_a_stage_of_this_machine_is_reached_without_a_proxy(tmp_path, answering_port, unreachable_proxy):
    (tmp_path / "metrics-port").write_text(str(answering_port))
    assert read_metrics(StageFolder(tmp_path)).progress.done == 3


def test_a_student_of_this_machine_is_reached_without_a_proxy(tmp_path, answering_port, unreachable_proxy):
    result = RunResult(name="tiny", state=RunState.DONE, reason=Reason.SUCCEEDED)
    server = StudentServer(tmp_path, "tiny", tmp_path, None, "auto", "127.0.0.1", answering_port, result)
    assert server.answers()


def reading(done, total=100, unit="rows"):
    return Progress(done=done, total=total, unit=unit)


def test_time_left_follows_the_speed_since_the_first_reading():
    estimator = EtaEstimator()
    assert estimator.estimate(0.0, reading(40)).eta_seconds is None
    assert estimator.estimate(10.0, reading(50)).eta_seconds == 50


def test_time_left_forgets_what_is_older_than_a_minute():
    estimator = EtaEstimator()
    estimator.estimate(0.0, reading(0))
    estimator.estimate(10.0, reading(50))
    assert estimator.estimate(70.0, reading(60)).eta_seconds == 240


def test_another_unit_starts_the_estimate_anew():
    estimator = EtaEstimator()
    estimator.estimate(0.0, reading(40))
    assert estimator.estimate(10.0, reading(5, unit="steps")).eta_seconds is None


def test_unknown_total_gives_no_estimate():
    estimator = EtaEstimator()
    estimator.estimate(0.0, reading(0, total=0))
    assert estimator.estimate(10.0, reading(5, total=0)).eta_seconds is None


def test_what_passes_before_the_first_unit_is_done_says_nothing_about_the_rest():
    estimator = EtaEstimator()
    times = [estimator.estimate(float(second), reading(0, 300)).eta_seconds for second in range(20)]
    times += [estimator.estimate(20.0 + step, reading(5 + 20 * step, 300)).eta_seconds for step in range(6)]
    assert times == [None] * 25 + [10]


def test_a_slow_stage_is_measured_from_its_first_unit_on():
    estimator = EtaEstimator()
    times = [estimator.estimate(float(second), reading(second // 30, 10)).eta_seconds for second in range(0, 61, 10)]
    assert times == [None] * 6 + [240]
