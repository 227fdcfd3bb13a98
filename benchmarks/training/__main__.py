"""The train stage compared with TRL's SFTTrainer, as set up in its documentation and at its fastest.

    python -m benchmarks.training [--runs 3] [--rows 64] [--answers short long]

Same rows, LoRA, effective batch, schedule, precision and evaluation per epoch, on the same device, in turn, each in its
own process. Compared are the stage's seconds from loading the model to the last checkpoint, without imports and
merging, and the peer's training loop only; the loss on the same validation rows; and the peak memory of the process,
on a GPU that of the device.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "examples" / "quickstart")]

from benchmarks.spread import spread

from conjunctions import SYSTEM_PROMPT
from distillery_api.stage import Stage
from student import student_folder
from train_evaluate_run import TrainEvaluateRun, training_row

SETTINGS: dict[str, Any] = {"batchSize": 8, "epochs": 1, "learningRate": 0.001, "rank": 16, "alpha": 32}
VALIDATION_ROWS = 16
PEERS = ("documented", "fastest")
LONG_ANSWER_WORDS = 200
WORDS = ("the", "harbour", "ship", "sails", "before", "noon", "with", "grain", "while", "gulls", "circle", "over", "it")


@dataclass(frozen=True)
class Measured:
    """One training."""

    seconds: float
    loss: float
    """On the validation rows, the best of all epochs."""
    memory: int
    """Peak, in bytes."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--answers", nargs="*", choices=["short", "long"], default=["short", "long"])
    arguments = parser.parse_args()
    for answers in arguments.answers:
        rows = [row(number, answers) for number in range(arguments.rows + VALIDATION_ROWS)]
        compare(rows[: arguments.rows], rows[arguments.rows :], arguments.runs, answers)


def row(number: int, answers: str) -> dict[str, Any]:
    """A row as long as those of the quickstart, or with a long answer."""
    text = f"Premise: Name{number} sang and Other{number} did not cook.\nHypothesis: Other{number} cooked."
    if answers == "short":
        made = training_row(number, text=text)
    else:
        words = " ".join(WORDS[(number * 7 + word * word) % len(WORDS)] for word in range(LONG_ANSWER_WORDS))
        made = training_row(number, answer=words, text=text)
    made["prompt"][0]["content"] = SYSTEM_PROMPT
    return made


def compare(train: list[dict[str, Any]], validation: list[dict[str, Any]], runs: int, answers: str) -> None:
    tokens = token_counts(train)
    SETTINGS["batchTokens"] = tokens_of_sequences(tokens, steps_per_epoch(train))
    stage: list[Measured] = []
    peers: dict[str, list[Measured]] = {kind: [] for kind in PEERS}
    for _ in range(runs):
        stage.append(ours(train, validation))
        for kind in PEERS:
            peers[kind].append(plain(train, validation, kind))
    precision = "bfloat16" if SETTINGS["bf16"] else "float32"
    print(f"\n{answers} answers: {len(train)} rows of {sum(tokens) // len(tokens)} tokens, {precision}, {runs} runs\n")
    print("| | tokens a second | ratio of the stage's | validation loss | peak memory |")
    print("|---|---|---|---|---|")
    print(line("train stage", sum(tokens), stage, stage))
    for kind in PEERS:
        print(line(f"SFTTrainer, {kind}", sum(tokens), peers[kind], stage), flush=True)


def token_counts(rows: list[dict[str, Any]]) -> list[int]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(student_folder())
    return [
        len(tokenizer.apply_chat_template(each["prompt"] + each["completion"], return_dict=True)["input_ids"])
        for each in rows
    ]


def steps_per_epoch(train: Sequence[dict[str, Any]]) -> int:
    return math.ceil(len(train) / SETTINGS["batchSize"])


def tokens_of_sequences(tokens: Sequence[int], number: int) -> int:
    """The fewest tokens of a sequence with which all rows fill no more than so many, so that a peer that packs them
    makes as many steps as one that does not."""
    fewest = max(*tokens, math.ceil(sum(tokens) / number))
    return next(size for size in itertools.count(fewest) if sequences(tokens, size) <= number)


def sequences(tokens: Sequence[int], size: int) -> int:
    """Number of sequences, with each row where it leaves the least room, long rows first, as TRL packs them."""
    room: list[int] = []
    for row_tokens in sorted(tokens, reverse=True):
        best = min((index for index, free in enumerate(room) if free >= row_tokens), key=room.__getitem__, default=None)
        if best is None:
            room.append(size - row_tokens)
        else:
            room[best] -= row_tokens
    return len(room)


def ours(train: list[dict[str, Any]], validation: list[dict[str, Any]]) -> Measured:
    """The stage's training loop, from its result."""
    lora = {"rank": SETTINGS["rank"], "alpha": SETTINGS["alpha"]}
    options = {name: SETTINGS[name] for name in ("batchSize", "epochs", "learningRate")}
    training = {"lora": lora, "maxLength": 2048, **options}
    with tempfile.TemporaryDirectory() as folder:
        run = TrainEvaluateRun(Path(folder), student_folder(), train=train, validation=validation, training=training)
        _, memory = execute(run.command(Stage.TRAIN))
        figures = run.training_figures()
    SETTINGS["bf16"] = figures.precision == "bfloat16"
    return Measured(figures.seconds, figures.validation_loss, memory)


def plain(train: list[dict[str, Any]], validation: list[dict[str, Any]], kind: str) -> Measured:
    """The peer's loop."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {"train": train, "validation": validation}
        for split, rows in files.items():
            kept = ({"prompt": each["prompt"], "completion": each["completion"]} for each in rows)
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in kept))
        paths = {split: str(folder / f"{split}.jsonl") for split in files}
        settings = {**SETTINGS, **paths, "kind": kind, "model": str(student_folder()), "output": str(folder / "out")}
        (folder / "settings.json").write_text(json.dumps(settings))
        program = str(Path(__file__).with_name("plain_trainer.py"))
        output, memory = execute([sys.executable, program, str(folder / "settings.json")])
    text = next(line for line in output.splitlines() if line.startswith("FIGURES "))
    figures = json.loads(text.removeprefix("FIGURES "))
    if figures["steps"] != steps_per_epoch(train) * SETTINGS["epochs"]:
        raise SystemExit(f"the peer made {figures['steps']} steps, another number than the stage")
    return Measured(figures["seconds"], figures["loss"], memory)


def execute(command: list[str]) -> tuple[str, int]:
    """The output and the peak memory of a program."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors, DeviceMemory() as device:
        process = subprocess.Popen(command, stdout=output, stderr=errors, text=True)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0), errors.seek(0)
        if process.returncode != 0:
            raise SystemExit(f"{command[1:3]} failed:\n{errors.read()[-2000:]}")
        return output.read(), device.peak or peak_of(used)


def peak_of(used: resource.struct_rusage) -> int:
    """Peak resident memory, in bytes."""
    return used.ru_maxrss * 1024


class DeviceMemory:
    """Watches how much memory of the GPU is in use beyond what was; 0 without a GPU."""

    peak = 0

    def __enter__(self) -> DeviceMemory:
        import torch

        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        if torch.cuda.is_available():
            self._before = in_use()
            self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.peak = max(self.peak, in_use() - self._before)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread.ident:
            self._thread.join()


def in_use() -> int:
    import torch

    free, total = torch.cuda.mem_get_info()
    return int(total - free)


def line(name: str, tokens: int, measured: Sequence[Measured], stage: Sequence[Measured]) -> str:
    rates = [tokens * SETTINGS["epochs"] / each.seconds for each in measured]
    ratios = [other.seconds / each.seconds for each, other in zip(stage, measured, strict=True)]
    loss = statistics.median(each.loss for each in measured)
    memory = max(each.memory for each in measured) / 2**20
    return f"| {name} | {spread(rates, 0)} | {spread(ratios, 2)} | {loss:.3f} | {memory:,.0f} MiB |"


if __name__ == "__main__":
    main()
