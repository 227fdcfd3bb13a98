"""Where artefacts lie in the workspace: the one place that spells their names."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

CONFIG_FILE = "run.json"
"""The RunConfig of a stage: in the stage's folder of a local run, in a ConfigMap in a cluster."""

ADAPTERS = "adapters"
"""Folder of the adapters that servers load."""


IMAGE_MODEL_FOLDER = "models"
"""Folder of the model's files in the student's image: KServe's convention."""

STUDENT_PROMPT_FILE = "student-prompt.txt"
ANSWER_SCHEMA_FILE = "answer-schema.json"
"""The student prompt as text: in the folder of generate, and among the model's files in the student's image."""


class Artefact(StrEnum):
    """What a stage leaves for its users, by the keys of `StageResult.files`."""

    TRAIN = "train"
    """Kept training rows."""
    VALIDATION = "validation"
    """Kept validation rows."""
    TEST = "test"
    """Held-out rows with both prompts, gold and the teacher's reply."""
    REJECTED = "rejected"
    """Rejected rows, each with its reason."""
    STUDENT_PROMPT = "studentPrompt"
    """The student prompt as text."""
    ANSWER_SCHEMA = "answerSchema"
    """The JSON schema of the answers, for Extraction."""
    CARD = "card"
    """The dataset card."""
    ADAPTER = "adapter"
    """The LoRA adapter."""
    MODEL = "model"
    """The merged model with its tokenizer."""
    SIGNATURE = "signature"
    """The signature of the model's files."""
    TRAINING_LOG = "trainingLog"
    """Losses and learning rate as the training went on."""
    NOT_TRAINED = "notTrained"
    """Kept rows that the training had to reject."""
    MODEL_CARD = "modelCard"
    """The student's card with its scores."""
    PREDICTIONS = "predictions"
    """Every system's answer to every held-out row."""
    BREAKDOWN = "breakdown"
    """Every system's figures by class or by field."""
    SERVED_REPLIES = "servedReplies"
    """The replies of the student's server beside those of the evaluation."""


@dataclass(frozen=True)
class Workspace:
    """The volume of a run, or the `--out` folder of a local one."""

    root: Path

    @property
    def replies(self) -> Path:
        """Folder of the reply journal: every paid reply, shared by all runs of the workspace."""
        return self.root / "replies"

    @property
    def pictures(self) -> Path:
        """Folder of the pictures of all rows, each under a digest of its bytes."""
        return self.root / "pictures"

    @property
    def replies_lock(self) -> Path:
        """Held by the stage that asks the teacher."""
        return self.replies / ".lock"

    def base_model(self, folder: str) -> Path:
        """A base model that is served with adapters, as it is trained and served from; `folder` is `base-<hash>`."""
        return self.root / folder

    def served_adapter(self, folder: str) -> Path:
        """The adapter that train made in `folder`, where a server finds it: all of them lie beside each other, so that
        a running one sees those to come."""
        return self.root / ADAPTERS / folder

    def stage_lock(self, folder: str) -> Path:
        """Held by the stage that works in this folder, and by those that read it. It lies outside, so that it outlives
        the folder."""
        return self.root / ".locks" / f"{folder}.lock"

    def users(self, folder: str) -> Path:
        """An empty file for each Distillation that uses a stage's folder, by its name."""
        return self.root / ".users" / folder

    def mlflow_run(self, name: str) -> Path:
        """The id of the run of a Distillation in MLflow."""
        return self.root / ".mlflow" / name

    @property
    def result(self) -> Path:
        """The whole run, for a person or a script."""
        return self.root / "result.json"

    @property
    def run_lock(self) -> Path:
        """Held by the local run that works in the workspace."""
        return self.root / ".lock"

    @property
    def server(self) -> Path:
        """Folder of a local student server."""
        return self.root / "serving"

    @property
    def server_log(self) -> Path:
        """What a local student server printed."""
        return self.server / "server.log"

    def stage(self, folder: str) -> StageFolder:
        """The folder of one stage."""
        return StageFolder(self.root / folder)

    def relative(self, path: Path) -> str:
        """A path below the workspace, as results name it."""
        return path.relative_to(self.root).as_posix()


SIGNATURE_FILE = "model.sig"
"""The signature of the model's files: beside their folder in the workspace, among them where they are published."""


@dataclass(frozen=True)
class StageFolder:
    """`<stage>-<hash>` in the workspace."""

    path: Path

    @property
    def config(self) -> Path:
        """The RunConfig of a local stage."""
        return self.path / CONFIG_FILE

    @property
    def log(self) -> Path:
        """Everything that a local stage printed, over all attempts."""
        return self.path / "stage.log"

    @property
    def metrics_port(self) -> Path:
        """The TCP port that a local stage chose for `/metrics`."""
        return self.path / "metrics-port"

    @property
    def mlflow_run(self) -> Path:
        """The id of the stage's run in MLflow."""
        return self.path / "mlflow-run"

    @property
    def signature(self) -> Path:
        """train: the signature of the model's files."""
        return self.path / SIGNATURE_FILE

    @property
    def tensorboard(self) -> Path:
        """train: folder of event files of TensorBoard."""
        return self.path / "tensorboard"

    @property
    def trackio(self) -> Path:
        """train: folder of trackio's database."""
        return self.path / "trackio"

    @property
    def result(self) -> Path:
        """The stage's StageResult."""
        return self.path / "result.json"

    def rows(self, split: str) -> Path:
        """generate: the rows of a split.

        Kept train and validation rows are `{"id", "prompt", "completion", "teacher"}`; those of test have both prompts,
        gold and the teacher's reply.
        """
        return self.path / f"{split}.jsonl"

    @property
    def train(self) -> Path:
        """generate: kept training rows."""
        return self.rows("train")

    @property
    def validation(self) -> Path:
        """generate: kept validation rows."""
        return self.rows("validation")

    @property
    def test(self) -> Path:
        """generate: held-out rows."""
        return self.rows("test")

    @property
    def rejected(self) -> Path:
        """generate: rejected rows with reason, reply and request id."""
        return self.path / "rejected.jsonl"

    @property
    def first_rows_digest(self) -> Path:
        """generate: digest of the rows that the stage first finished with."""
        return self.path / "first-rows-digest"

    @property
    def card(self) -> Path:
        """generate: what the rows are, for people and dataset hubs."""
        return self.path / "README.md"

    @property
    def student_prompt(self) -> Path:
        """generate: the student prompt as text."""
        return self.path / STUDENT_PROMPT_FILE

    @property
    def answer_schema(self) -> Path:
        """generate: the JSON schema of the answers, for Extraction."""
        return self.path / ANSWER_SCHEMA_FILE

    @property
    def not_trained(self) -> Path:
        """train: kept rows that could not be trained on, with reason."""
        return self.path / "rejected.jsonl"

    @property
    def training_log(self) -> Path:
        """train: losses and learning rate as the training goes on, a line for each logged step."""
        return self.path / "training-log.jsonl"

    @property
    def checkpoints(self) -> Path:
        """train: checkpoints of an unfinished training."""
        return self.path / "checkpoints"

    def outcome(self, attempt: str) -> Path:
        """train by several processes: the result that they have agreed on, before it is the stage's."""
        return self.path / "outcomes" / f"{attempt}.json"

    @property
    def trained(self) -> Path:
        """train: the figures of a training whose student is saved."""
        return self.path / "trained.json"

    @property
    def adapter(self) -> Path:
        """train: the LoRA adapter."""
        return self.path / "adapter"

    @property
    def model(self) -> Path:
        """train: the merged model with tokenizer, as transformers and vLLM load it."""
        return self.path / "model"

    @property
    def search(self) -> str:
        """train: folder, relative to the workspace, of the trials of a search."""
        return f"{self.path.name}/search"

    @property
    def learning_curve(self) -> str:
        """evaluate: folder, relative to the workspace, of the students of some of the rows, while they are needed."""
        return f"{self.path.name}/learning-curve"

    def system_replies(self, system: str) -> Path:
        """evaluate: the replies of one system, added to as they come."""
        return self.path / f"replies-{system}.jsonl"

    def replies_of_process(self, system: str, process: int) -> Path:
        """evaluate by several processes: the replies of one of them, until they are joined with those of all."""
        return self.path / f"replies-{system}.process-{process}.jsonl"

    @property
    def judge_replies(self) -> Path:
        """evaluate: folder of the judge's reply journal."""
        return self.path / "judge"

    @property
    def model_card(self) -> Path:
        """evaluate: the card of the student, with its scores."""
        return self.path / "model-card.md"

    @property
    def predictions(self) -> Path:
        """evaluate: every system's answer to every held-out row."""
        return self.path / "predictions.jsonl"

    @property
    def breakdown(self) -> Path:
        """evaluate: every system's figures by class or by field; only of tasks whose answers have such parts."""
        return self.path / "breakdown.json"

    @property
    def served_replies(self) -> Path:
        """verify: the replies of the student's server beside those of the evaluation."""
        return self.path / "served-replies.jsonl"
