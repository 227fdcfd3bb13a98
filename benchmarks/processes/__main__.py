"""How much faster two processes train one student than one does, each on a core of its own, over gloo.

    python -m benchmarks.processes [--runs 3]

The same rows, batches and epochs in turn; compared are the stage's seconds from loading the model to the last
checkpoint, with the evaluation of the epoch, and its losses.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "examples" / "quickstart")]

from benchmarks.spread import spread

from distillery_api.stage import Stage
from distillery_api.stage_result import TrainingFigures
from student import student_folder
from train_evaluate_run import TrainEvaluateRun, training_rows

TRAINING = {"batchSize": 16, "epochs": 1, "learningRate": 0.001}
ROWS, VALIDATION_ROWS = 128, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    pairs = [(trained(1), trained(2)) for _ in range(runs)]
    print(f"\n| {ROWS} rows, {runs} runs | seconds | validation loss |\n|---|---|---|")
    for name, figures in (("one process", [one for one, _ in pairs]), ("two processes", [two for _, two in pairs])):
        seconds = spread([each.seconds for each in figures], 1)
        print(f"| {name} | {seconds} | {figures[0].validation_loss:.4f} |")
    ratios = [one.seconds / two.seconds for one, two in pairs]
    print(f"\nTwo are {spread(ratios, 2)} times as fast as one.")


def trained(processes: int) -> TrainingFigures:
    """The figures of a training by so many processes of one thread each."""
    with tempfile.TemporaryDirectory() as folder:
        rows = {"train": training_rows(ROWS), "validation": training_rows(VALIDATION_ROWS, 1000)}
        training = TRAINING | ({"gpusPerNode": processes} if processes > 1 else {})
        run = TrainEvaluateRun(Path(folder), student_folder(), training=training, **rows)
        process = run.start(Stage.TRAIN)
        _, errors = process.communicate()
        if process.returncode:
            raise SystemExit(f"the stage failed:\n{errors[-2000:]}")
        return run.training_figures()


if __name__ == "__main__":
    main()
