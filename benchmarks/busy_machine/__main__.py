"""What another busy process on the machine costs: training, evaluation and serving, with it and without.

    python -m benchmarks.busy_machine [--runs 3]

The other process computes on one core without a pause. Measured in turn, each in a process of its own: the seconds of
the train stage's loop, those of the evaluate stage, and the median seconds of an answer of the server. On two cores of
which one is taken, twice the time is what the lost core alone costs. What an idle machine takes 10 s for takes 25 s
where 60 % are lost.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "examples" / "quickstart")]

from benchmarks.spread import spread

from distillery_api.stage import Stage
from distillery_trainer.verification.served_student import ServedStudent
from student import NAME, student_folder
from train_evaluate_run import TrainEvaluateRun, chat, held_out_rows, training_rows
from vllm_server import free_port

TRAINING = {"preset": "Auto", "batchSize": 8, "epochs": 1}
REQUESTS = 20
BUSY = "while True: pass"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    print(f"\n| seconds, {runs} runs | idle machine | beside a busy process | lost |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        trained = run_in(Path(folder) / "trained")
        seconds_of(trained, Stage.TRAIN)
        for name, measure in (
            ("training, 32 rows", training_seconds),
            ("evaluation, 20 rows by 3 models", lambda: evaluation_seconds(trained)),
            ("an answer of the server, median", serving_seconds),
        ):
            print(line(name, measure, runs), flush=True)


def line(name: str, measure: Callable[[], float], runs: int) -> str:
    idle, busy = [], []
    for _ in range(runs):
        idle.append(measure())
        with busy_process():
            busy.append(measure())
    lost = [1 - alone / beside for alone, beside in zip(idle, busy, strict=True)]
    return f"| {name} | {spread(idle, 2)} | {spread(busy, 2)} | {statistics.median(lost):.0%} |"


@contextlib.contextmanager
def busy_process() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        try:
            yield
        finally:
            process.kill()


def run_in(folder: Path) -> TrainEvaluateRun:
    """A run of the student whose rows are generated."""
    rows = {"train": training_rows(32), "validation": training_rows(12, 100), "test": held_out_rows(20)}
    return TrainEvaluateRun(folder, student_folder(), training=TRAINING, **rows)


def training_seconds() -> float:
    with tempfile.TemporaryDirectory() as folder:
        run = run_in(Path(folder))
        seconds_of(run, Stage.TRAIN)
        return run.training_figures().seconds


def evaluation_seconds(trained: TrainEvaluateRun) -> float:
    """Seconds of the whole stage, on a workspace in which no answer is stored."""
    with tempfile.TemporaryDirectory() as folder:
        run = replace(trained, workspace=Path(folder))
        run.folder(Stage.TRAIN).symlink_to(trained.folder(Stage.TRAIN))
        return seconds_of(run, Stage.EVALUATE)


def seconds_of(run: TrainEvaluateRun, stage: Stage) -> float:
    command = run.command(stage)
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"the stage {stage} failed:\n{done.stderr[-2000:]}")
    return time.perf_counter() - started


def serving_seconds() -> float:
    port = free_port()
    options = [f"--model={student_folder()}", f"--name={NAME}", "--host=127.0.0.1", f"--port={port}"]
    command = [sys.executable, "-m", "distillery_trainer.serving", *options]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            student = ServedStudent(f"http://127.0.0.1:{port}/v1", NAME, 8)
            until_it_answers(student)
            return statistics.median(student.ask(chat(f"Name {number} birds.")).seconds for number in range(REQUESTS))
        finally:
            process.terminate()


def until_it_answers(student: ServedStudent) -> None:
    while student.ask(chat("Hello.")).text is None:
        time.sleep(0.5)


if __name__ == "__main__":
    main()
