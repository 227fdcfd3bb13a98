import pytest

from distillery_api.paths import StageFolder
from distillery_api.stage_result import Progress
from distillery_operator.local.stage_metrics import EtaEstimator, read_metrics


@pytest.mark.parametrize("port", ["", "none", "1"])
def test_stage_that_does_not_respond_is_no_error(tmp_path, port):
    assert read_metrics(StageFolder(tmp_path)) is None
    (tmp_path / "metrics-port").write_text(port)
    assert read_metrics(StageFolder(tmp_path)) is None


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
