"""What an objective needs of the rows that are generated for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distillery_api.base import Rule
from distillery_api.spec.task import COMPARABLE_TASKS, Task
from distillery_api.spec.training_objective import Logits, ObjectiveKind, Preference, RationaleUse, SampleUse

if TYPE_CHECKING:
    from distillery_api.spec.distillation import DistillationSpec


def _has_samples_to_use(spec: DistillationSpec) -> bool:
    return spec.training.objective.samples is SampleUse.MAJORITY or spec.generation.samples > 1


def _soft_answers_have_no_reasoning(spec: DistillationSpec) -> bool:
    return spec.training.objective.samples is not SampleUse.SOFT or not spec.generation.keep_reasoning


def _has_reasoning_to_learn(spec: DistillationSpec) -> bool:
    reasons = spec.generation.chain_of_thought or any(teacher.reasoning for teacher in spec.generation.teachers)
    return spec.training.objective.rationales is RationaleUse.NONE or reasons


def _reasoning_is_learned_once(spec: DistillationSpec) -> bool:
    return spec.training.objective.rationales is RationaleUse.NONE or not spec.generation.keep_reasoning


def _has_answers_of_tokens(spec: DistillationSpec) -> bool:
    return spec.training.objective.kind is not ObjectiveKind.LOGITS or spec.task is not Task.TOOL_CALLING


def _has_rejected_answers(spec: DistillationSpec) -> bool:
    has_some = spec.generation.samples > 1 or spec.generation.filters.disagrees_with_gold
    return spec.training.objective.kind is not ObjectiveKind.PREFERENCE or has_some


def _prefers_answers_alone(spec: DistillationSpec) -> bool:
    return spec.training.objective.kind is not ObjectiveKind.PREFERENCE or not spec.generation.keep_reasoning


def _prefers_on_one_gpu(spec: DistillationSpec) -> bool:
    several = (spec.training.gpus_per_node or 1) * (spec.training.nodes or 1) > 1
    return spec.training.objective.kind is not ObjectiveKind.PREFERENCE or not several


def _prefers_after_one_training(spec: DistillationSpec) -> bool:
    return spec.training.objective.kind is not ObjectiveKind.PREFERENCE or spec.training.search is None


def _uses_settings_of_logits(spec: DistillationSpec) -> bool:
    objective = spec.training.objective
    return objective.kind is ObjectiveKind.LOGITS or objective.logits == Logits()


def _uses_settings_of_preference(spec: DistillationSpec) -> bool:
    objective = spec.training.objective
    return objective.kind is ObjectiveKind.PREFERENCE or objective.preference == Preference()


def _prefers_comparable_answers(spec: DistillationSpec) -> bool:
    return spec.training.objective.kind is not ObjectiveKind.PREFERENCE or spec.task in COMPARABLE_TASKS


def _samples_comparable_answers(spec: DistillationSpec) -> bool:
    return spec.training.objective.samples is SampleUse.MAJORITY or spec.task in COMPARABLE_TASKS


_COMPARABLE = ", ".join(COMPARABLE_TASKS[:-1]) + f" and {COMPARABLE_TASKS[-1]}"
_IS_COMPARABLE = f"self.task in {[str(task) for task in COMPARABLE_TASKS]}"

OBJECTIVE_RULES = (
    # The API server fills in defaults, so that what is left out and what has them are one and the same.
    Rule(
        "self.training.objective.kind == 'Logits' || (self.training.objective.logits.topLogprobs == 20 &&"
        " self.training.objective.logits.alpha == 0.5 && self.training.objective.logits.temperature == 1.0)",
        "training.objective.logits: these are settings of kind Logits; set training.objective.kind to Logits, or remove"
        " logits",
        _uses_settings_of_logits,
    ),
    Rule(
        "self.training.objective.kind == 'Preference' || self.training.objective.preference.beta == 0.1",
        "training.objective.preference: these are settings of kind Preference; set training.objective.kind to"
        " Preference, or remove preference",
        _uses_settings_of_preference,
    ),
    Rule(
        f"self.training.objective.samples == 'Majority' || {_IS_COMPARABLE}",
        f"training.objective.samples: answers of this task cannot be counted; Weighted and Soft are for {_COMPARABLE};"
        " remove the field",
        _samples_comparable_answers,
    ),
    Rule(
        f"self.training.objective.kind != 'Preference' || {_IS_COMPARABLE}",
        "training.objective.kind: what a right answer is is not known for this task; Preference is for"
        f" {_COMPARABLE}; set kind to Labels",
        _prefers_comparable_answers,
    ),
    Rule(
        "self.training.objective.samples == 'Majority' || self.generation.samples > 1",
        "training.objective.samples: Weighted and Soft need several samples of each row; set generation.samples to 3 or"
        " more, or remove the field",
        _has_samples_to_use,
    ),
    Rule(
        "self.training.objective.samples != 'Soft' || !self.generation.keepReasoning",
        "training.objective.samples: Soft learns answers without their reasoning; remove generation.keepReasoning, or"
        " set samples to Weighted",
        _soft_answers_have_no_reasoning,
    ),
    Rule(
        "self.training.objective.rationales == 'None' || self.generation.chainOfThought"
        " || self.generation.teachers.exists(t, t.reasoning)",
        "training.objective.rationales: there is no reasoning to learn; set generation.chainOfThought if the task has"
        " it, or generation.teachers[0].reasoning for a teacher that reasons by itself, or remove rationales",
        _has_reasoning_to_learn,
    ),
    Rule(
        "self.training.objective.rationales == 'None' || !self.generation.keepReasoning",
        "training.objective.rationales: with generation.keepReasoning the student learns the reasoning before each"
        " answer already; remove one of the two",
        _reasoning_is_learned_once,
    ),
    Rule(
        "self.training.objective.kind != 'Logits' || self.task != 'ToolCalling'",
        "training.objective.kind: servers state no log-probabilities of calls, so ToolCalling cannot learn Logits; use"
        " Labels",
        _has_answers_of_tokens,
    ),
    Rule(
        "self.training.objective.kind != 'Preference' || self.generation.samples > 1"
        " || self.generation.filters.disagreesWithGold",
        "training.objective.kind: Preference needs rejected answers; set generation.samples to 3 or more, or"
        " generation.filters.disagreesWithGold for rows with gold, or set kind to Labels",
        _has_rejected_answers,
    ),
    Rule(
        "self.training.objective.kind != 'Preference' || !self.generation.keepReasoning",
        "training.objective.kind: Preference compares answers without their reasoning; remove"
        " generation.keepReasoning, or set kind to Labels",
        _prefers_answers_alone,
    ),
    Rule(
        "self.training.objective.kind != 'Preference' || ((!has(self.training.gpusPerNode)"
        " || self.training.gpusPerNode == 1) && (!has(self.training.nodes) || self.training.nodes == 1))",
        "training.objective.kind: Preference is learned on one GPU; remove training.gpusPerNode and training.nodes, or"
        " set kind to Labels",
        _prefers_on_one_gpu,
    ),
    Rule(
        "self.training.objective.kind != 'Preference' || !has(self.training.search)",
        "training.objective.kind: Preference goes on with one training; remove training.search, or set kind to Labels",
        _prefers_after_one_training,
    ),
)
