"""What the user asks for. A field's docstring is its description in the CRD: unit, default and effect, once."""

from __future__ import annotations

from distillery_api.spec.data import Data, DataSource
from distillery_api.spec.distillation import DistillationSpec, without_defaults
from distillery_api.spec.evaluation import EvaluationOptions
from distillery_api.spec.fields import QUANTITY, SecretKeyReference, SecretReference
from distillery_api.spec.generation import Generation
from distillery_api.spec.serving import Serving, ServingMode, ServingRuntime
from distillery_api.spec.stage_options import PodTemplate, Resources, StageOptions
from distillery_api.spec.storage import DEFAULT_STORAGE_SIZE, AccessMode, Retention, Storage
from distillery_api.spec.task import NLI_LABELS, Task
from distillery_api.spec.teacher import Budget, Prompts, Sampling, Teacher
from distillery_api.spec.training import Lora, Student, StudentModel, Training, TrainingMethod

__all__ = [
    "DEFAULT_STORAGE_SIZE",
    "NLI_LABELS",
    "QUANTITY",
    "AccessMode",
    "Budget",
    "Data",
    "DataSource",
    "DistillationSpec",
    "EvaluationOptions",
    "Generation",
    "Lora",
    "PodTemplate",
    "Prompts",
    "Resources",
    "Retention",
    "Sampling",
    "SecretKeyReference",
    "SecretReference",
    "Serving",
    "ServingMode",
    "ServingRuntime",
    "StageOptions",
    "Storage",
    "Student",
    "StudentModel",
    "Task",
    "Teacher",
    "Training",
    "TrainingMethod",
    "without_defaults",
]
