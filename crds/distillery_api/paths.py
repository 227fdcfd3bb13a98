"""Where artefacts lie in the workspace: the one place that spells their names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REPLIES_FOLDER = "replies"
RESULT_FILE = "result.json"


@dataclass(frozen=True)
class Workspace:
    """The volume of a run, or the `--out` folder of a local one."""

    root: Path

    @property
    def replies(self) -> Path:
        """Folder of every teacher reply ever paid for, shared by all runs of the workspace."""
        return self.root / REPLIES_FOLDER

    @property
    def result(self) -> Path:
        """The whole run, for a person or a script."""
        return self.root / RESULT_FILE

    def stage(self, folder: str) -> StageFolder:
        """The folder of one stage."""
        return StageFolder(self.root / folder)


@dataclass(frozen=True)
class StageFolder:
    """`<stage>-<hash>` in the workspace."""

    path: Path

    @property
    def result(self) -> Path:
        """The stage's StageResult."""
        return self.path / RESULT_FILE

    @property
    def train(self) -> Path:
        """generate: kept training rows, `{"id", "prompt", "completion", "teacher"}`."""
        return self.path / "train.jsonl"

    @property
    def validation(self) -> Path:
        """generate: kept validation rows, as `train`."""
        return self.path / "validation.jsonl"

    @property
    def test(self) -> Path:
        """generate: all test rows with both prompts, gold and the teacher's reply."""
        return self.path / "test.jsonl"

    @property
    def rejected(self) -> Path:
        """generate: rejected rows with reason, reply and request id."""
        return self.path / "rejected.jsonl"

    @property
    def card(self) -> Path:
        """generate: what the rows are, for people and data set hubs."""
        return self.path / "README.md"

    @property
    def student_prompt(self) -> Path:
        """generate: the student's system prompt as text."""
        return self.path / "student-prompt.txt"

    @property
    def too_long(self) -> Path:
        """train: rows longer than training.maxLength."""
        return self.path / "rejected.jsonl"

    @property
    def checkpoints(self) -> Path:
        """train: checkpoints of an unfinished training."""
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        """train: the LoRA adapter."""
        return self.path / "adapter"

    @property
    def model(self) -> Path:
        """train: the merged model with tokenizer, as transformers and vLLM load it."""
        return self.path / "model"

    @property
    def predictions(self) -> Path:
        """evaluate: every contestant's answer to every test row."""
        return self.path / "predictions.jsonl"
