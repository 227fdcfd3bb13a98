"""How long the train stage trains, beside TRL's SFTTrainer as its documentation sets it up.

    python -m benchmarks.training [--runs 3] [--rows 64]

Same rows, same LoRA, same batch, schedule, precision and evaluation an epoch, on the same device, in turn, each in a
process of its own. Compared are the stage's seconds from loading the model to the last checkpoint, without imports and
merging, and the peer's training loop alone.
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
    chosen = parser.parse_args()
    rows = [row(number) for number in range(chosen.rows + 16)]
    train, validation = rows[: chosen.rows], rows[chosen.rows :]
    times = [(ours(train, validation), plain(train, validation)) for _ in range(chosen.runs)]
    report(times, chosen.rows)


def row(number: int) -> dict[str, Any]:
    """A row of the quickstart's length."""
    text = f"Premise: Name{number} sang and Other{number} did not cook.\nHypothesis: Other{number} cooked."
    made = training_row(number, text=text)
    made["prompt"][0]["content"] = SYSTEM_PROMPT
    return made


def ours(train: list[dict[str, Any]], validation: list[dict[str, Any]]) -> float:
    """Seconds of the stage's training loop, by its own result."""
    lora = {"rank": SETTINGS["rank"], "alpha": SETTINGS["alpha"]}
    options = {name: SETTINGS[name] for name in ("batchSize", "epochs", "learningRate")}
    with tempfile.TemporaryDirectory() as folder:
        run = TrainEvaluateRun(
            Path(folder), student_folder(), train=train, validation=validation, training={"lora": lora, **options}
        )
        path = Path(folder) / "run.json"
        path.write_text(run.config(Stage.TRAIN).model_dump_json(by_alias=True))
        execute([sys.executable, "-m", "distillery_trainer", "train", "--config", str(path)])
        figures = run.result(Stage.TRAIN).training
    if figures is None:
        raise SystemExit("the stage gave no figures")
    SETTINGS["bf16"] = figures.precision == "bfloat16"
    return figures.seconds


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
        said = execute(
            [sys.executable, str(Path(__file__).with_name("plain_trainer.py")), str(folder / "settings.json")]
        )
    return float(next(line.split()[1] for line in said.splitlines() if line.startswith("SECONDS")))


def execute(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{command[1:3]} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def report(times: list[tuple[float, float]], rows: int) -> None:
    mine, theirs = zip(*times, strict=True)
    ratios = [own / peer for own, peer in times]
    precision = "bfloat16" if SETTINGS["bf16"] else "float32"
    print(f"{rows} rows, batch {SETTINGS['batchSize']}, {precision}, {len(times)} runs")
    print(f"train stage  {spread(mine)} s")
    print(f"SFTTrainer   {spread(theirs)} s")
    print(f"ratio        {spread(ratios)}  (below 1: the stage is faster)")


def spread(values: tuple[float, ...] | list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


if __name__ == "__main__":
    main()
