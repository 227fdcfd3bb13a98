"""What the user asks for. A field's docstring becomes its description in the CRD: unit, default and effect, once.

What the operator reports belongs in status.py; what follows from a spec belongs in the operator's planning/.
"""

from __future__ import annotations

from distillery_api.spec.answer_rules import AnswerRule, ParsesAs, SqlDialect
from distillery_api.spec.child_metadata import ChildMetadata
from distillery_api.spec.data import Columns, Data, DataFormat, DataSource, Replies
from distillery_api.spec.distillation import DistillationSpec
from distillery_api.spec.durations import parse_duration
from distillery_api.spec.evaluation import AgainstServing, EvaluationOptions, Gate
from distillery_api.spec.fields import QUANTITY, SecretKeyReference, SecretReference
from distillery_api.spec.filters import DuplicateMatching, Filters, PersonalData, Redaction
from distillery_api.spec.generation import Generation, History
from distillery_api.spec.labels import LABEL_SEPARATORS, NO_LABEL, LabelDefinition
from distillery_api.spec.model_image import ModelImage
from distillery_api.spec.publication import Hub, Publication, SigningKey
from distillery_api.spec.queue import Queue
from distillery_api.spec.rollout import (
    LARGEST_SHARE_OF_PODS,
    CanaryAnalysis,
    CanaryStep,
    RolloutOptions,
    RolloutStrategy,
)
from distillery_api.spec.route import Route, RouteKind
from distillery_api.spec.serving import AdapterMode, Serving, ServingMode, ServingRuntime
from distillery_api.spec.stage_options import JobOptions, PodTemplate, Resources, StageOptions
from distillery_api.spec.storage import DEFAULT_STORAGE_SIZE, AccessMode, Retention, Storage
from distillery_api.spec.task import LABEL_TASKS, NLI_LABELS, PROSE_TASKS, REASONING_TASKS, Task
from distillery_api.spec.teacher import Budget, Judge, Limits, PricedJudge, Pricing, Prompts, Sampling, Server, Teacher
from distillery_api.spec.tracking import Tracker, Tracking
from distillery_api.spec.training import (
    Lora,
    Student,
    StudentModel,
    ToolFormat,
    Training,
    TrainingMethod,
    TrainingPreset,
)
from distillery_api.spec.training_objective import Logits, ObjectiveKind, RationaleUse, SampleUse, TrainingObjective
from distillery_api.spec.training_search import Combination, TrainingSearch
from distillery_api.spec.where import Where

__all__ = [
    "DEFAULT_STORAGE_SIZE",
    "LABEL_SEPARATORS",
    "LABEL_TASKS",
    "LARGEST_SHARE_OF_PODS",
    "NLI_LABELS",
    "NO_LABEL",
    "PROSE_TASKS",
    "QUANTITY",
    "REASONING_TASKS",
    "AccessMode",
    "AdapterMode",
    "AgainstServing",
    "AnswerRule",
    "Budget",
    "CanaryAnalysis",
    "CanaryStep",
    "ChildMetadata",
    "Columns",
    "Combination",
    "Data",
    "DataFormat",
    "DataSource",
    "DistillationSpec",
    "DuplicateMatching",
    "EvaluationOptions",
    "Filters",
    "Gate",
    "Generation",
    "History",
    "Hub",
    "JobOptions",
    "Judge",
    "LabelDefinition",
    "Limits",
    "Logits",
    "Lora",
    "ModelImage",
    "ObjectiveKind",
    "ParsesAs",
    "PersonalData",
    "PodTemplate",
    "PricedJudge",
    "Pricing",
    "Prompts",
    "Publication",
    "Queue",
    "RationaleUse",
    "Redaction",
    "Replies",
    "Resources",
    "Retention",
    "RolloutOptions",
    "RolloutStrategy",
    "Route",
    "RouteKind",
    "SampleUse",
    "Sampling",
    "SecretKeyReference",
    "SecretReference",
    "Server",
    "Serving",
    "ServingMode",
    "ServingRuntime",
    "SigningKey",
    "SqlDialect",
    "StageOptions",
    "Storage",
    "Student",
    "StudentModel",
    "Task",
    "Teacher",
    "ToolFormat",
    "Tracker",
    "Tracking",
    "Training",
    "TrainingMethod",
    "TrainingObjective",
    "TrainingPreset",
    "TrainingSearch",
    "Where",
    "parse_duration",
]
