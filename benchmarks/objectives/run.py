"""Students of 100, 300 and 1,000 rows with each objective, beside TRL's plain SFT: the gap that each closes.

    python benchmarks/objectives/run.py --data FOLDER [--out FOLDER] [--only NAME ...] [--rows N ...]
        [--objectives NAME ...] [--held-out N] [--seeds N] [--jobs N] [--student FOLDER] [--table]

FOLDER holds nli/conjnli, mcqa/commonsenseqa and math/gsm8k, each with train.jsonl, validation.jsonl and gold.jsonl. A
test server answers from gold, one row in ten wrongly, with reasoning, five samples a row, and the probabilities with
which it draws them as log-probabilities, the same for all objectives. All students have the same rows, steps,
rank and learning rate, and answer the same held-out rows.
Run again, it resumes; `--table` only prints the results. `--jobs` students are trained at a time, on the same device.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "examples" / "quickstart"), str(HERE)]

from answer_tokens import AnswerTokens
from data_sets import DATA_SETS, DataSet, write_rows
from table import table
from teacher import SamplingTeacher

from chat_server import TeacherServer
from distillery_api.run_config import RunConfig
from distillery_api.spec import NLI_LABELS
from distillery_api.stage import Stage
from student import student_folder

PLAIN = "TRL SFT"
OBJECTIVES: dict[str, Mapping[str, Any]] = {
    "Labels": {},
    "Weighted": {"samples": "Weighted"},
    "Soft": {"samples": "Soft"},
    "Rationales": {"rationales": "Auxiliary"},
    "Logits": {"kind": "Logits"},
    "Preference": {"kind": "Preference"},
}
"""`training.objective` by the name in the table."""
GENERATION = {
    "chainOfThought": True,
    "samples": 5,
    "sampling": {"maxTokens": 256},
    "minSuccessRatio": 0.5,
    "minRows": 1,
}
LEARNING_RATE, RANK, ALPHA, MAX_LENGTH = 0.001, 16, 32, 768
BATCH_SIZE, ROWS_SEEN = 4, 500
"""Train rows that each student sees, about, in as many epochs as that takes; 1,000 rows are seen once."""


@dataclass(frozen=True)
class Rows:
    """One data set with a number of train rows, and its folder."""

    data_set: DataSet
    number: int
    held_out: int
    out: Path
    student: Path

    @property
    def folder(self) -> Path:
        return self.out / f"{self.data_set.name}-{self.number}"

    @property
    def generated(self) -> Path:
        """The rows that generate has kept."""
        return self.folder / "generate-rows"

    @property
    def budget(self) -> dict[str, Any]:
        """Epochs and batch size, the same for all objectives."""
        epochs = max(1, round(ROWS_SEEN / self.number))
        return {"epochs": epochs, "batchSize": BATCH_SIZE, "learningRate": LEARNING_RATE, "maxLength": MAX_LENGTH}

    def config(self, stage: Stage, name: str, **changes: Any) -> Path:
        """The file with the configuration of a stage in the folder `STAGE-NAME`."""
        folder = f"{stage}-{name}"
        teacher = {
            "name": "gold",
            "endpoint": "http://127.0.0.1:1/v1",
            "model": "teacher",
            **changes.pop("teacher", {}),
        }
        labels = NLI_LABELS if self.data_set.task == "NLI" else ()
        config = RunConfig.model_validate(
            {
                "stage": stage,
                "name": self.data_set.name,
                "folder": folder,
                "inputs": {} if stage is Stage.GENERATE else {Stage.GENERATE: self.generated.name},
                "workspace": str(self.folder),
                "basePath": str(self.folder),
                "task": self.data_set.task,
                "data": {split: {"uri": f"{split}.jsonl"} for split in ("train", "validation", "test")},
                "generation": {**GENERATION, "teachers": [teacher]},
                "student": {"model": {"uri": str(self.student)}},
                "labels": labels,
                "metricsHost": "127.0.0.1",
                "metricsPort": 0,
                "terminationMessagePath": str(self.folder / folder / "message"),
                "training": {"lora": {"rank": RANK, "alpha": ALPHA}, **self.budget, **changes},
            }
        )
        path = self.folder / folder / "run.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(config.model_dump_json(by_alias=True))
        return path


# --- processes


def execute(log: Path, *command: str | Path, threads: int) -> None:
    """Run a command; what it prints goes to a file, the end of which is shown where it fails."""
    variables = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    paths = [str(ROOT / part) for part in ("crds", "operator", "trainer_image")]
    variables["PYTHONPATH"] = os.pathsep.join([*paths, variables.get("PYTHONPATH", "")])
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as stream:
        ended = subprocess.run(
            [sys.executable, *map(str, command)], check=False, env=variables, stdout=stream, stderr=subprocess.STDOUT
        )
    if ended.returncode:
        raise SystemExit(f"{log}:\n{log.read_text()[-3000:]}")


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


# --- the steps


def is_done(folder: Path) -> bool:
    """Whether a stage has ended well; one that was interrupted leaves a result, too."""
    result = folder / "result.json"
    return result.exists() and json.loads(result.read_text())["state"] == "Done"


def generate(rows: Rows, data: Path, threads: int) -> None:
    """The rows that all objectives share, and what the teacher scores."""
    known = write_rows(data, rows.data_set, rows.number, rows.held_out, rows.folder)
    if not is_done(rows.generated):
        teacher = SamplingTeacher(known, is_math=rows.data_set.task == "Math")
        with TeacherServer(teacher) as server:
            tokens = AnswerTokens(str(rows.student / "tokenizer.json"), teacher.probabilities)
            server.application.token_model = tokens
            config = rows.config(Stage.GENERATE, "rows", teacher={"endpoint": server.url}, objective={"kind": "Logits"})
            execute(
                rows.folder / "generate.log",
                "-m",
                "distillery_trainer",
                "generate",
                "--config",
                config,
                threads=threads,
            )
    config = rows.config(Stage.TRAIN, "scores")
    if not (rows.folder / "teacher.json").exists():
        score(rows, config, rows.folder / "teacher.json", "--teacher", threads=threads)
    say(f"{rows.folder.name}: the rows are ready")


def score(rows: Rows, config: Path, out: Path, *model: str | Path, threads: int) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    execute(rows.folder / "scores.log", HERE / "scores.py", "--config", config, "--out", out, *model, threads=threads)


def base(rows: Rows, threads: int) -> None:
    """The base model's scores; the held-out rows are the same for every number of train rows."""
    out = rows.out / f"{rows.data_set.name}-base.json"
    if not out.exists():
        score(rows, rows.config(Stage.TRAIN, "base"), out, "--base", threads=threads)
        say(f"{rows.data_set.name}: the base model has answered")


def student(rows: Rows, objective: str, seed: int, threads: int) -> None:
    """Train one student, and score its answers."""
    name = f"{objective.replace(' ', '-').lower()}-{seed}"
    out = rows.folder / "students" / f"{objective}-{seed}.json"
    if out.exists():
        return
    started = time.monotonic()
    config = rows.config(Stage.TRAIN, name, seed=seed, objective=OBJECTIVES.get(objective, {}))
    folder = config.parent
    if not (folder / "model").exists():
        if objective == PLAIN:
            plain(rows, folder, seed, threads)
        else:
            execute(folder / "log", "-m", "distillery_trainer", "train", "--config", config, threads=threads)
    score(rows, config, out, "--model", folder / "model", threads=threads)
    for part in ("model", "checkpoints", "adapter"):
        shutil.rmtree(folder / part, ignore_errors=True)
    say(f"{rows.folder.name}: {objective}, seed {seed}, in {time.monotonic() - started:.0f} s")


def plain(rows: Rows, folder: Path, seed: int, threads: int) -> None:
    settings = {
        "model": str(rows.student),
        "train": str(rows.generated / "train.jsonl"),
        "validation": str(rows.generated / "validation.jsonl"),
        "out": str(folder),
        "seed": seed,
        "rank": RANK,
        "alpha": ALPHA,
        **rows.budget,
    }
    path = folder / "settings.json"
    path.write_text(json.dumps(settings))
    execute(folder / "log", HERE / "plain_sft.py", path, threads=threads)
    for checkpoint in folder.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


# --- the command


def work(all_rows: list[Rows], arguments: argparse.Namespace) -> None:
    """All steps: those for rows first, then each student by itself."""
    threads = max(1, (os.cpu_count() or 1) // arguments.jobs)
    failed: list[str] = []
    lock = threading.Lock()

    def attempt(step: Callable[..., None], *given: Any) -> None:
        """A step that fails is said, and the others go on."""
        try:
            step(*given, threads)
        except (SystemExit, OSError) as error:
            with lock:
                failed.append(str(error))
            say(str(error))

    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(lambda rows: attempt(generate, rows, arguments.data.resolve()), all_rows))
        first = {rows.data_set.name: rows for rows in reversed(all_rows)}
        steps = [pool.submit(attempt, base, rows) for rows in first.values()]
        for seed in range(arguments.seeds):
            for rows in all_rows:
                steps += [pool.submit(attempt, student, rows, each, 42 + seed) for each in arguments.objectives]
        for step in steps:
            step.result()
    if failed:
        say(f"{len(failed)} steps failed; run again to try them once more")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names, objectives = [data_set.name for data_set in DATA_SETS], [*OBJECTIVES, PLAIN]
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/objectives"))
    parser.add_argument("--only", nargs="*", choices=names, default=names)
    parser.add_argument("--rows", nargs="*", type=int, default=[100, 300, 1000])
    parser.add_argument("--objectives", nargs="*", choices=objectives, default=objectives)
    parser.add_argument("--held-out", type=int, default=300, help="rows that all models answer")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--student", type=Path)
    parser.add_argument("--table", action="store_true", help="only print the existing results")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    if not arguments.table:
        base_folder = (arguments.student or student_folder()).resolve()
        chosen = [data_set for data_set in DATA_SETS if data_set.name in arguments.only]
        held_out = arguments.held_out
        work(
            [Rows(each, number, held_out, out, base_folder) for each in chosen for number in arguments.rows], arguments
        )
    print(f"\n{table(out, arguments.only, arguments.rows, objectives)}")


if __name__ == "__main__":
    main()
