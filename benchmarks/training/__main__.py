"""The duration of the train stage, compared with TRL's SFTTrainer as set up in its documentation.

    python -m benchmarks.training [--runs 3] [--rows 64]

Same rows, LoRA, batch size, schedule, precision and evaluation per epoch, on the same device, in turn, each in its own
process. Compared are the stage's seconds from loading the model to the last checkpoint, without imports and merging,
and the peer's training loop only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "examples" / "quickstart")]

from conjunctions import SYSTEM_PROMPT
from distillery_api.stage import Stage
from student import student_folder
from train_evaluate_run import TrainEvaluateRun, training_row

SETTINGS = {"batchSize": 8, "epochs": 1, "learningRate": 0.001, "rank": 16, "alpha": 32}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=64)
    arguments = parser.parse_args()
    rows = [row(number) for number in range(arguments.rows + 16)]
    train, validation = rows[: arguments.rows], rows[arguments.rows :]
    times = [(ours(train, validation), plain(train, validation)) for _ in range(arguments.runs)]
    report(times, arguments.rows)


def row(number: int) -> dict[str, Any]:
    """A row as long as those of the quickstart."""
    text = f"Premise: Name{number} sang and Other{number} did not cook.\nHypothesis: Other{number} cooked."
    made = training_row(number, text=text)
    made["prompt"][0]["content"] = SYSTEM_PROMPT
    return made


def ours(train: list[dict[str, Any]], validation: list[dict[str, Any]]) -> float:
    """Seconds of the stage's training loop, from its result."""
    lora = {"rank": SETTINGS["rank"], "alpha": SETTINGS["alpha"]}
    options = {name: SETTINGS[name] for name in ("batchSize", "epochs", "learningRate")}
    with tempfile.TemporaryDirectory() as folder:
        run = TrainEvaluateRun(
            Path(folder), student_folder(), train=train, validation=validation, training={"lora": lora, **options}
        )
        path = Path(folder) / "run.json"
        path.write_text(run.config(Stage.TRAIN).model_dump_json(by_alias=True))
        execute([sys.executable, "-m", "distillery_trainer", "train", "--config", str(path)])
        metrics = run.result(Stage.TRAIN).training
    if metrics is None:
        raise SystemExit("the stage's result has no training metrics")
    SETTINGS["bf16"] = metrics.precision == "bfloat16"
    return metrics.seconds


def plain(train: list[dict[str, Any]], validation: list[dict[str, Any]]) -> float:
    """Seconds of the plain trainer's loop."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {"train": train, "validation": validation}
        for split, rows in files.items():
            kept = ({"prompt": each["prompt"], "completion": each["completion"]} for each in rows)
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in kept))
        paths = {split: str(folder / f"{split}.jsonl") for split in files}
        settings = {**SETTINGS, **paths, "model": str(student_folder()), "output": str(folder / "out")}
        (folder / "settings.json").write_text(json.dumps(settings))
        output = execute(
            [sys.executable, str(Path(__file__).with_name("plain_trainer.py")), str(folder / "settings.json")]
        )
    return float(next(line.split()[1] for line in output.splitlines() if line.startswith("SECONDS")))


def execute(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{command[1:3]} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def report(times: list[tuple[float, float]], rows: int) -> None:
    stage_times, peer_times = zip(*times, strict=True)
    ratios = [stage / peer for stage, peer in times]
    precision = "bfloat16" if SETTINGS["bf16"] else "float32"
    print(f"{rows} rows, batch {SETTINGS['batchSize']}, {precision}, {len(times)} runs")
    print(f"train stage  {spread(stage_times)} s")
    print(f"SFTTrainer   {spread(peer_times)} s")
    print(f"ratio        {spread(ratios)}  (below 1: the stage is faster)")


def spread(values: tuple[float, ...] | list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


if __name__ == "__main__":
    main()
