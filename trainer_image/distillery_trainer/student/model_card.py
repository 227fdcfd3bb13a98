"""The model card, `README.md` among the student's files: the base model and its licence, the rows, the training, how it
is used, and where its scores are. Model hubs read its front matter. The same student always has the same card, so that
its image stays the same; a copy beside the evaluation has the scores.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distillery_api.evaluation import Evaluation, Score
from distillery_api.run_config import RunConfig
from distillery_api.stage import Stage
from distillery_api.stage_result import RowCounts, StageResult, TrainingFigures
from distillery_trainer.data.addresses import without_secrets
from distillery_trainer.data.pictures import pictures_of
from distillery_trainer.runtime.files import read_rows, write_atomically
from distillery_trainer.student.base_licence import copy_licence_files, licence_fields
from distillery_trainer.student.model_digest import MODEL_CARD, SUMS
from distillery_trainer.text.markdown import fenced, front_matter, read_front_matter, section, table

_HUB = "hf://"
_HUB_NAME = re.compile(r"[-.\w]+/[-.\w]+")
_SCORES = "Scores"
_NOT_STATED = "not stated in its folder; look it up where the model comes from"
_LONGEST_PROMPT = 20_000
_READING, _SEEING = "text-generation", "image-text-to-text"
"""Pipelines of the Transformers library."""
_SEEING_ON_VLLM = " --chat-template-content-format=openai --limit-mm-per-prompt='{\"image\":8}'"


def describe_student(config: RunConfig, base: Path, figures: TrainingFigures) -> None:
    """Put the card, and the licence texts of the base model in `base`, among the student's files. Raises UserError if
    the volume is full."""
    folder = config.stage_folder.model
    copy_licence_files(base, folder)
    generated = _generated(config)
    prompt = _text(config.input_folder(Stage.GENERATE).student_prompt)
    text = card_text(
        config,
        licence_fields(base),
        figures,
        generated.splits if generated else {},
        prompt,
        sees=_rows_have_pictures(config),
    )
    write_atomically(folder / MODEL_CARD, text.encode(), mode=0o644)


def write_scored_card(config: RunConfig, evaluation: Evaluation) -> None:
    """Put a copy of the student's card with its scores beside the evaluation, where there is a card."""
    text = _text(config.input_folder(Stage.TRAIN).model / MODEL_CARD)
    if text:
        write_atomically(config.stage_folder.model_card, with_scores(text, config, evaluation).encode(), mode=0o644)


def _rows_have_pictures(config: RunConfig) -> bool:
    train = config.input_folder(Stage.GENERATE).train
    return train.exists() and any(pictures_of(row["prompt"]) for row in read_rows(train))


def _generated(config: RunConfig) -> StageResult | None:
    try:
        return StageResult.model_validate_json(config.input_folder(Stage.GENERATE).result.read_bytes())
    except (OSError, ValueError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


# --- the card


def card_text(
    config: RunConfig,
    licence: Mapping[str, str],
    figures: TrainingFigures,
    splits: Mapping[str, RowCounts],
    student_prompt: str,
    *,
    sees: bool = False,
) -> str:
    """The card's text. `licence` is what the base model's card says of it, `splits` the rows by split; `sees` whether
    rows have pictures."""
    parts = (
        front_matter(_metadata(config, licence, _SEEING if sees else _READING)),
        _introduction(config),
        section("Base model", _base(config, licence)),
        section("Training data", _data(config, splits)),
        section("Training", _training(config, figures)),
        section(_SCORES, _where_scores_are(figures)),
        section("Student prompt", _prompt(student_prompt)),
        section("Use", _use(config, sees=sees)),
    )
    return "\n\n".join(parts) + "\n"


def _metadata(config: RunConfig, licence: Mapping[str, str], pipeline: str) -> dict[str, Any]:
    name = _name_on_hub(config.student.model.uri)
    base = {"base_model": name, "base_model_relation": "finetune"} if name else {}
    language = {"language": [config.generation.language]} if config.generation.language else {}
    return {
        **licence,
        **base,
        **language,
        "library_name": "transformers",
        "pipeline_tag": pipeline,
        "tags": ["distillation", str(config.task).lower()],
    }


def _name_on_hub(uri: str) -> str | None:
    """ORG/NAME of a model on the Hub."""
    name = uri.removeprefix(_HUB).partition("@")[0]
    return name if uri.startswith(_HUB) and _HUB_NAME.fullmatch(name) else None


def _introduction(config: RunConfig) -> str:
    teachers = " and ".join(teacher.model for teacher in config.generation.teachers)
    return (
        f"# {config.name}: a student for {config.task}\n\n"
        f"This model was trained on the answers of {teachers} to one task. It is meant for that task, under the student"
        " prompt below, and for nothing else."
    )


def _base(config: RunConfig, licence: Mapping[str, str]) -> str:
    stated = licence.get("license_name") or licence.get("license") or _NOT_STATED
    link = f" ({licence['license_link']})" if "license_link" in licence else ""
    return f"{without_secrets(config.student.model.uri)}. Licence: {stated}{link}. It applies to this model as well."


def _data(config: RunConfig, splits: Mapping[str, RowCounts]) -> str:
    counts = [f"{splits[split].kept:,} {split}" for split in ("train", "validation") if split in splits]
    rows = f"{' and '.join(counts)} rows" if counts else "Rows"
    teachers = "; ".join(
        f"{teacher.model} (licence of its output: {teacher.licence or 'not specified'})"
        for teacher in config.generation.teachers
    )
    card = config.paths.relative(config.input_folder(Stage.GENERATE).card)
    return (
        f"{rows}, answered by {teachers}. Licence of the data: {config.data.licence or 'not specified'}. The dataset"
        f" card, `{card}` in the workspace, has their sources, prompts, filters and cost."
    )


def _training(config: RunConfig, figures: TrainingFigures) -> str:
    settings = figures.settings.sentence() if figures.settings else str(config.training.method)
    score = "" if figures.validation_score is None else f", score {figures.validation_score:.3f}"
    return (
        f"{settings[:1].upper()}{settings[1:]}; {figures.steps:,} steps in {figures.precision}, seed"
        f" {config.training.seed}. On the validation rows: loss {figures.validation_loss:.4f}{score}. The weights have"
        " the precision of the base model's files."
    )


def _where_scores_are(figures: TrainingFigures) -> str:
    known = "" if figures.validation_score is None else " The score on the validation rows chose the checkpoint."
    return (
        "The evaluation scores the model on held-out rows, beside its teacher, its base model and simple baselines: see"
        f" `result.json` of the run, or `kubectl get distill`.{known}"
    )


def _prompt(text: str) -> str:
    if not text.strip():
        return "Each row has had a system message of its own, which takes the place of a student prompt."
    cut = text[:_LONGEST_PROMPT]
    return "The model was trained under this system message, and expects it:\n\n" + fenced(cut)


def _use(config: RunConfig, *, sees: bool) -> str:
    path = config.paths.relative(config.stage_folder.model)
    shown = '[{"type": "image", "url": "FILE"}, {"type": "text", "text": "…"}]' if sees else '"…"'
    code = "\n".join(
        (
            "from transformers import pipeline",
            "",
            f'ask = pipeline("{_SEEING if sees else _READING}", model="PATH")',
            f'messages = [{{"role": "system", "content": "STUDENT PROMPT"}}, {{"role": "user", "content": {shown}}}]',
            'print(ask(messages, max_new_tokens=256)[0]["generated_text"][-1]["content"])',
        )
    )
    vllm = f"vllm serve PATH --served-model-name {config.name}{_SEEING_ON_VLLM if sees else ''}"
    return "\n\n".join(
        (
            f"The folder (`{path}` in the workspace) is complete: weights, tokenizer, chat template, and greedy"
            " decoding as the default.",
            fenced(f"distillery serve WORKSPACE\n{vllm}", "sh"),
            fenced(code, "python"),
            f"`sha256sum -c {SUMS}` checks the files.",
        )
    )


# --- scores


def with_scores(card: str, config: RunConfig, evaluation: Evaluation) -> str:
    """The card with the scores of an evaluation, as text and as hubs read them."""
    head, _, rest = card.partition(f"\n## {_SCORES}\n")
    _, next_heading, after = rest.partition("\n## ")
    metadata = read_front_matter(card)
    if metadata:
        head = front_matter({**metadata, **_model_index(config, evaluation)}) + head[_length_of_front_matter(head) :]
    return f"{head}\n{section(_SCORES, _scores(evaluation))}\n{next_heading}{after}"


def _length_of_front_matter(card: str) -> int:
    return card.index("\n---", 3) + len("\n---")


def _scores(evaluation: Evaluation) -> str:
    rows = [(name, f"{score.score:.3f}", _interval(score)) for name, score in _systems(evaluation)]
    verdict = [f"Verdict: {evaluation.verdict.message}"] if evaluation.verdict else []
    metric = f"{evaluation.metric[:1].upper()}{evaluation.metric[1:]} on {evaluation.sample_size:,} held-out rows."
    return "\n\n".join([metric, table(("System", "Score", "95 % interval"), rows), *verdict])


def _systems(evaluation: Evaluation) -> Iterator[tuple[str, Score]]:
    for name, score in (
        ("Student (this model)", evaluation.student),
        ("Teacher", evaluation.teacher),
        ("Base model, teacher prompt", evaluation.base_teacher_prompt),
        ("Base model, student prompt", evaluation.base),
        ("Baseline: majority", evaluation.majority),
        ("Baseline: shallow", evaluation.shallow),
        ("Baseline: lead", evaluation.lead),
        ("Baseline: copied", evaluation.copied),
    ):
        if score is not None:
            yield name, score


def _interval(score: Score) -> str:
    return "" if score.low is None or score.high is None else f"{score.low:.3f} to {score.high:.3f}"


def _model_index(config: RunConfig, evaluation: Evaluation) -> dict[str, Any]:
    if evaluation.student is None:
        return {}
    result = {
        "task": {"type": "text-generation", "name": str(config.task)},
        "dataset": {"type": config.name, "name": f"held-out rows of {config.name}", "split": "test"},
        "metrics": [{"type": evaluation.metric, "value": evaluation.student.score}],
    }
    return {"model-index": [{"name": config.name, "results": [result]}]}
