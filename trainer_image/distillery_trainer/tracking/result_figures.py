"""What a tracker is told of a finished stage."""

from __future__ import annotations

from distillery_api.evaluation import Evaluation, Score
from distillery_api.run_config import RunConfig
from distillery_api.stage import Stage
from distillery_api.stage_result import StageResult

_SCORES = ("score", "macro_f1", "unreadable", "prompt_tokens", "answer_tokens", "latency_seconds")


def metrics_of(result: StageResult) -> dict[str, float]:
    """The figures of a stage's result, by the names of the status, with a slash between levels."""
    found: dict[str, float | None] = {}
    for split, counts in result.splits.items():
        found |= {f"rows/{split}/kept": counts.kept, f"rows/{split}/rejected": counts.rejected}
    if (usage := result.usage) is not None:
        found |= {"usage/requests": usage.requests, "usage/cost": usage.cost}
        found |= {"usage/inputTokens": usage.input_tokens, "usage/outputTokens": usage.output_tokens}
    if (training := result.training) is not None:
        found |= {"best/trainLoss": training.train_loss, "best/validationLoss": training.validation_loss}
        found |= {"best/validationScore": training.validation_score, "steps": training.steps}
        found |= {"seconds": training.seconds, "trainableParameters": training.trainable_parameters}
    if result.evaluation is not None:
        found |= _evaluation(result.evaluation)
    return {name: float(value) for name, value in found.items() if value is not None}


def _evaluation(evaluation: Evaluation) -> dict[str, float | None]:
    found: dict[str, float | None] = {
        "gapClosed": evaluation.gap_closed,
        "pValue": evaluation.p_value,
        "rows/test": evaluation.sample_size,
    }
    for name, field in type(evaluation).model_fields.items():
        if isinstance(score := getattr(evaluation, name), Score):
            aliases = type(score).model_fields
            system = field.alias or name
            found |= {f"{system}/{aliases[each].alias}": getattr(score, each) for each in _SCORES}
    return found


def headline(result: StageResult) -> dict[str, float]:
    """The figures of a stage by which Distillations are compared."""
    metrics = metrics_of(result)
    names = ("student/score", "teacher/score", "baseTeacherPrompt/score", "gapClosed", "usage/cost", "seconds")
    return {name: metrics[name] for name in names if name in metrics}


def parameters_of(config: RunConfig, result: StageResult) -> dict[str, str]:
    """What a stage was done with."""
    found: dict[str, object] = {"task": config.task}
    if config.stage is Stage.GENERATE:
        found |= {"teacher": config.generation.teachers[0].model, "samples": config.generation.samples}
        found |= {"chainOfThought": config.generation.chain_of_thought}
    if result.training is not None:
        settings = result.training.settings
        found |= {"baseModel": config.student.model.uri, "method": config.training.method, "seed": config.training.seed}
        found |= settings.model_dump(by_alias=True, exclude_none=True) if settings else {}
        found |= {"device": result.training.device, "precision": result.training.precision}
    if result.evaluation is not None and result.evaluation.verdict is not None:
        found["verdict"] = result.evaluation.verdict.kind
    return {name: str(value) for name, value in found.items()}
