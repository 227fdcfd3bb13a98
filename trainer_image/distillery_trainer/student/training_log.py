"""The training log: losses and learning rate as the training goes on, one line of JSON for each logged step.

However often a training is killed and resumed, no step is in it twice: what was logged of steps that are trained again
is replaced.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from distillery_trainer.runtime.errors import StageError
from distillery_trainer.runtime.files import to_line, write_atomically
from distillery_trainer.student.checkpoint_choice import LOSS, SCORE

_NAMES = {
    "loss": "loss",
    "learning_rate": "learningRate",
    "grad_norm": "gradientNorm",
    LOSS: "validationLoss",
    SCORE: "validationScore",
}
"""What the trainer logs -> its name in a line."""
_DIGITS = 10
Report = Callable[[int, Mapping[str, float]], object]


class TrainingLog(TrainerCallback):  # type: ignore[misc]
    """Writes the lines `{"step", "epoch", "loss", "learningRate", "gradientNorm", "validationLoss", "validationScore",
    "time"}`: `loss` is the mean over the steps since the line before, in nats per token; what is measured on validation
    rows stands in the lines after which it was measured.

    A volume that takes no more lines does not stop the training.
    """

    def __init__(self, path: Path, report: Report = lambda step, figures: None) -> None:
        """`report` is called with the step and the figures of each line."""
        super().__init__()
        self._path, self._report = path, report
        self._lines = _read(path)
        self._is_whole = False
        """Whether the file holds these lines and nothing else, so that a line can be added."""
        self._has_failed = False

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Forget the lines of steps that are trained again."""
        self._forget_after(state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float],
        **_: Any,
    ) -> None:
        """Write what was measured after a step."""
        figures = {_NAMES[name]: round(float(value), _DIGITS) for name, value in logs.items() if name in _NAMES}
        if not figures or not state.is_world_process_zero:
            return
        if state.epoch is not None:
            figures["epoch"] = round(state.epoch, 4)
        self._report(state.global_step, figures)
        self._forget_after(state.global_step)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        line = {"step": state.global_step, **figures, "time": now}
        if self._lines and self._lines[-1]["step"] == state.global_step:
            self._is_whole = False
            before = self._lines.pop()
            before.pop("time", None)
            line = {**before, **line}
        self._lines.append(line)
        self._write(line)

    def _forget_after(self, step: int) -> None:
        kept = [line for line in self._lines if line["step"] <= step]
        self._is_whole &= len(kept) == len(self._lines)
        self._lines = kept

    def _write(self, line: dict[str, Any]) -> None:
        try:
            if self._is_whole:
                with self._path.open("ab") as file:
                    file.write(to_line(line))
            else:
                write_atomically(self._path, b"".join(map(to_line, self._lines)))
            self._is_whole = True
        except (OSError, StageError) as error:
            self._is_whole = False  # half a line may have been written
            if not self._has_failed:
                sys.stderr.write(f"The training log is not complete: {error}\n")
            self._has_failed = True


def _read(path: Path) -> list[dict[str, Any]]:
    """The lines of an earlier attempt, without the one that a kill has cut off, and with each step once."""
    try:
        content = path.read_bytes()
    except OSError:
        return []
    lines: dict[int, dict[str, Any]] = {}
    for text in content.splitlines():
        try:
            line = orjson.loads(text)
        except orjson.JSONDecodeError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines[line["step"]] = line
    return [lines[step] for step in sorted(lines)]
