"""The student and the second stage, which trains it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from distillery_api.base import ApiModel, FirstDefault, NotIdentity, Rule
from distillery_api.spec.durations import Duration
from distillery_api.spec.fields import Epochs, ModelUri, SecretReference
from distillery_api.spec.stage_options import JobOptions
from distillery_api.spec.training_objective import TrainingObjective
from distillery_api.spec.training_search import TrainingSearch


class TrainingMethod(StrEnum):
    """Which weights are trained."""

    LORA = "LoRA"
    RS_LORA = "rsLoRA"
    DORA = "DoRA"
    QLORA = "QLoRA"
    FULL = "Full"

    @property
    def trains_adapters(self) -> bool:
        """Whether low-rank adapters are trained, and the model's own weights stay as they are."""
        return self is not TrainingMethod.FULL


class StudentModel(ApiModel):
    """The model to train."""

    uri: ModelUri
    """Location of a causal language model with tokenizer and chat template in Hugging Face format: hf://ORG/NAME or
    hf://ORG/NAME@REVISION, pvc://CLAIM/PATH, file:///PATH, or a plain path, relative to the same folder as in
    `data`."""


class ToolFormat(StrEnum):
    """How a student reads tools, and writes calls."""

    TEMPLATE = "Template"
    HERMES = "Hermes"


class Student(ApiModel):
    """The student: the small model that is trained and served."""

    model: StudentModel
    """Base model to train."""
    tool_format: ToolFormat = ToolFormat.TEMPLATE
    """How ToolCalling writes tools, calls and results for the student. Template: as its own chat template does, which
    has to know tools. Hermes: descriptions in the system message, calls as JSON between <tool_call> marks, whatever the
    chat template knows; for models that were never taught to call tools. Default: Template."""
    credentials: Annotated[SecretReference | None, NotIdentity] = None
    """Secret whose keys become environment variables of the train and evaluate stages, which load the model, for
    example HF_TOKEN, and with the prefix DISTILLERY_STUDENT_ of the generate stage, which checks it. Default: none."""


class TrainingPreset(StrEnum):
    """Where the values of fields that are left out come from."""

    AUTO = "Auto"
    AZURE = "Azure"


class Lora(ApiModel):
    """LoRA adapters (Hu et al., arXiv 2106.09685) on all linear layers except the output layer."""

    rank: Annotated[Annotated[int, Field(strict=True, ge=1, le=512)] | None, FirstDefault(8)] = None
    """Rank of the adapters. Default: 16."""
    alpha: Annotated[Annotated[int, Field(strict=True, ge=1, le=4096)] | None, FirstDefault(128)] = None
    """Scaling numerator: the adapters' output is multiplied by alpha / rank, with rsLoRA by alpha / sqrt(rank).
    Default: twice the rank; 8 with rsLoRA, which is the same at rank 16."""
    dropout: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0
    """Dropout probability of the adapters' inputs, from 0 to below 1. Default: 0."""


MAX_CHOSEN_BATCH_SIZE = 16
"""The largest training batch size that is chosen where it is left out. All that are chosen divide it, so that the
parts of a batch that the operator asks for divide them or are more than they have rows."""
_AZURE: dict[str, Any] = {"epochs": 1, "batch_size": 1, "learning_rate": 0.0003}
_AZURE_LORA: dict[str, Any] = {"rank": 8, "alpha": 128}
_AUTO_RANK = 16
_AUTO_RS_LORA_ALPHA = 8
"""With rsLoRA, one alpha suits every rank (arXiv 2312.03732, section 3); this one scales as LoRA does at _AUTO_RANK."""


def _search_alone(field: str, in_cel: str, searched: str, value: Callable[[Training], Any]) -> Rule:
    """The rule that a field is not given beside a list of its values."""

    def holds(training: Training) -> bool:
        return value(training) is None or training.search is None or training.search.lists[searched] is None

    return Rule(
        f"!has(self.search) || !has(self.search.{searched}) || !has({in_cel})",
        f"{field} and search.{searched} are the same setting twice; remove one of them",
        holds,
    )


def _gpu_amounts(training: Training, field: str) -> list[str]:
    """How many GPUs the requests or limits of resources name."""
    amounts = (training.resources and getattr(training.resources, field)) or {}
    return [str(amount) for name, amount in amounts.items() if name.endswith("/gpu")]


def _same_gpus(field: str) -> Rule:
    """The rule that the requests or limits of resources name as many GPUs as gpusPerNode, or none."""

    def holds(training: Training) -> bool:
        wanted = {str(training.gpus_per_node), "0"}
        return training.gpus_per_node is None or all(amount in wanted for amount in _gpu_amounts(training, field))

    amounts = f"self.resources.{field}"
    return Rule(
        f"!has(self.gpusPerNode) || !has(self.resources) || !has({amounts}) || {amounts}.all(name,"
        f" !name.endsWith('/gpu') || string({amounts}[name]) in [string(self.gpusPerNode), '0'])",
        f"gpusPerNode: resources.{field} has another number of GPUs; make both the same, or remove one (with"
        " nvidia.com/gpu: 0, the processes share the CPU)",
        holds,
    )


class Training(JobOptions):
    """The second stage: the student is trained on the teacher's answers, with the student prompt. What is left out is
    chosen by the number of rows and the size of the model."""

    preset: TrainingPreset = TrainingPreset.AUTO
    """Where the values of fields that are left out come from. Auto chooses by the number of rows and the size of the
    model; Azure has the fixed defaults of Azure AI Foundry's distillation: rank 8, alpha 128, 1 epoch, batch size 1
    and learning rate 0.0003. Default: Auto."""
    method: TrainingMethod = TrainingMethod.LORA
    """LoRA trains low-rank adapters and merges them into the model. rsLoRA (arXiv 2312.03732) scales them so that high
    ranks learn as stably as low ones. DoRA (arXiv 2402.09353) also trains the magnitude of the weights apart from their
    direction, and is slower. QLoRA (arXiv 2305.14314) holds the model in 4 bits while it trains, and needs a GPU. Full
    trains all weights. Default: LoRA."""
    lora: Lora = Lora()
    """Settings of the adapters; ignored with Full."""
    objective: TrainingObjective = TrainingObjective()
    """What the student learns from each row. Default: the teacher's answers."""
    epochs: Annotated[Epochs | None, FirstDefault(1)] = None
    """Number of passes over the train rows. Default: as many as make some 200 steps, at least 3 and at most 30; the
    training ends sooner once the validation rows gain nothing more."""
    epochs_without_gain: Epochs | None = None
    """Ends the training after so many epochs in a row that did not make the student better on the validation rows.
    Default: 3, and without an end before epochs where that is given."""
    max_duration: Duration | None = None
    """Ends the training (with search, all of them together) after this time, such as 90m or 12h, over all attempts: the
    student is evaluated once more on the validation rows, and its best checkpoint so far is taken. What a killed
    attempt lost does not count. The learning rate follows the schedule of all epochs. Default: none."""
    batch_size: Annotated[Annotated[int, Field(strict=True, ge=1, le=4096)] | None, FirstDefault(1)] = None
    """Training batch size. Default: from 2 with few rows to 16 with many."""
    learning_rate: Annotated[Annotated[float, Field(strict=True, gt=0, le=1)] | None, FirstDefault(0.0003)] = None
    """Peak learning rate of the cosine schedule. Default: for LoRA from 0.001 for small models to 0.0001 for large
    ones; a tenth of that for Full."""
    warmup_steps: Annotated[int, Field(strict=True, ge=0, le=100_000)] = 5
    """Number of steps of linear warm-up to the peak learning rate. Default: 5."""
    weight_decay: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.1
    """Weight decay of the AdamW optimiser. Default: 0.1."""
    max_length: Annotated[int, Field(strict=True, ge=16, le=1_048_576)] = 8192
    """Maximum length of a row, prompt and answer together, in tokens. A lower limit of the model itself applies as
    well. Longer rows are rejected and counted, never truncated. Default: 8192."""
    seed: Annotated[int, Field(strict=True, ge=0, le=4_294_967_295)] = 42
    """Random seed for shuffling and initialisation. Default: 42."""
    search: TrainingSearch | None = None
    """Trains several students and goes on with the best. Default: none; one student is trained."""
    gpus_per_node: Annotated[Annotated[int, Field(strict=True, ge=1, le=64)] | None, NotIdentity] = None
    """Number of GPUs on each node, each with a process of its own; they share each training batch, whose size stays the
    same, and so does the result. The container gets as many nvidia.com/gpu unless resources names GPUs; with
    nvidia.com/gpu: 0 there, the processes share the CPU. Default: one process, and no GPU unless resources names it."""

    nodes: Annotated[Annotated[int, Field(strict=True, ge=1, le=64)] | None, NotIdentity] = None
    """Number of nodes that train together, each with its own gpusPerNode and resources. More than one takes a workspace
    that several nodes can mount. Default: 1."""

    rules: ClassVar[tuple[Rule, ...]] = (
        _search_alone("learningRate", "self.learningRate", "learningRates", lambda training: training.learning_rate),
        _search_alone("epochs", "self.epochs", "epochs", lambda training: training.epochs),
        _search_alone("lora.rank", "self.lora.rank", "ranks", lambda training: training.lora.rank),
        Rule(
            "!has(self.search) || !has(self.search.ranks) || self.method != 'Full'",
            "search.ranks: method Full trains no adapters; remove ranks, or set method to LoRA",
            lambda training: not (training.search and training.search.ranks) or training.method != TrainingMethod.FULL,
        ),
        _same_gpus("limits"),
        _same_gpus("requests"),
    )

    @property
    def with_preset(self) -> Training:
        """The same with the values of its preset where fields are left out, so that to state the preset and to state
        its values is one and the same."""
        if self.preset is TrainingPreset.AUTO:
            return self
        lora = self.lora.model_copy(update=_missing(self.lora, _AZURE_LORA))
        return self.model_copy(update={"preset": TrainingPreset.AUTO, "lora": lora, **_missing(self, _AZURE)})

    @property
    def idle_gpus(self) -> str | None:
        """Says of GPUs in resources that no process uses them, and what to do; None where there are none."""
        gpus = sum(int(amount) for amount in _gpu_amounts(self, "limits") if amount.isdecimal())
        if self.gpus_per_node is not None or gpus < 2:
            return None
        return (
            f"of the {gpus} GPUs in training.resources, one process uses one; set training.gpusPerNode to {gpus}, or"
            " ask for one GPU"
        )

    @property
    def adapter_rank(self) -> int:
        """Rank of the adapters, with its default filled in; the largest one of a search."""
        if self.search and self.search.ranks:
            return max(self.search.ranks)
        return self.with_preset.lora.rank or _AUTO_RANK

    @property
    def adapter_alpha(self) -> int:
        """Scaling numerator of the adapters, with its default filled in."""
        chosen = _AUTO_RS_LORA_ALPHA if self.method is TrainingMethod.RS_LORA else 2 * self.adapter_rank
        return self.with_preset.lora.alpha or chosen


def _missing(model: ApiModel, values: dict[str, Any]) -> dict[str, Any]:
    """Those of the values whose fields are left out."""
    return {name: value for name, value in values.items() if getattr(model, name) is None}
