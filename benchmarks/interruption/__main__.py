"""What a start, a stop and a resumption cost a training, beside the five minutes between two checkpoints.

    python -m benchmarks.interruption [--runs 3]

Measured on the train stage in a process of its own, with the quickstart's student: the seconds from its start to its
first completed step, those from SIGTERM to its end (it completes the step, and writes a checkpoint), and those from the
next start to the end of the step after the checkpoint. The files are in the system's cache.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "examples" / "quickstart")]

from benchmarks.spread import spread

from distillery_api.stage import Stage
from student import student_folder
from train_evaluate_run import TrainEvaluateRun, training_rows

TRAINING = {"batchSize": 8, "epochs": 50, "learningRate": 0.001}
BETWEEN_CHECKPOINTS = 300
"""Seconds."""
STEPS_DONE = 'distillery_stage_done{stage="train",unit="steps"} '
POLL_SECONDS, PATIENCE_SECONDS = 0.05, 300


class Training:
    """The process of a train stage."""

    def __init__(self, run: TrainEvaluateRun) -> None:
        self._port = run.folder(Stage.TRAIN) / "metrics-port"
        self._port.unlink(missing_ok=True)
        command = run.command(Stage.TRAIN)
        self._started = time.perf_counter()
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def seconds_to_step(self, after: int) -> float:
        """The seconds from the start to the end of a step after this one."""
        while self._steps() <= after:
            if self._process.poll() is not None or time.perf_counter() - self._started > PATIENCE_SECONDS:
                raise SystemExit(f"the stage made no step after {after}")
            time.sleep(POLL_SECONDS)
        return time.perf_counter() - self._started

    def seconds_to_stop(self) -> float:
        """The seconds from SIGTERM to the end."""
        began = time.perf_counter()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        return time.perf_counter() - began

    def _steps(self) -> int:
        try:
            metrics = httpx2.get(f"http://127.0.0.1:{self._port.read_text().strip()}/metrics").text
        except (OSError, httpx2.HTTPError):
            return -1
        return int(next((float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(STEPS_DONE)), -1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    measured = [interrupted() for _ in range(parser.parse_args().runs + 1)][1:]  # the first fills the system's cache
    starts, stops, resumptions = zip(*measured, strict=True)
    shares = [seconds / BETWEEN_CHECKPOINTS for seconds in resumptions]
    print(f"\n| {len(measured)} runs | |\n|---|---|")
    print(f"| from the start to the first step | {spread(starts, 1)} s |")
    print(f"| from SIGTERM to the end, with a checkpoint | {spread(stops, 1)} s |")
    print(f"| from the next start to the next step | {spread(resumptions, 1)} s |")
    print(f"| the resumption as a share of {BETWEEN_CHECKPOINTS} s | {statistics.median(shares):.1%} |")


def interrupted() -> tuple[float, float, float]:
    """The seconds of a start, a stop and a resumption."""
    with tempfile.TemporaryDirectory() as folder:
        rows = {"train": training_rows(64), "validation": training_rows(8, 100)}
        run = TrainEvaluateRun(Path(folder), student_folder(), training=TRAINING, **rows)
        first = Training(run)
        start = first.seconds_to_step(0)
        stop = first.seconds_to_stop()
        checkpoints = run.folder(Stage.TRAIN).glob("checkpoints/checkpoint-*")
        again = Training(run)
        resumption = again.seconds_to_step(max(int(path.name.rpartition("-")[2]) for path in checkpoints))
        again.seconds_to_stop()
        return start, stop, resumption


if __name__ == "__main__":
    main()
