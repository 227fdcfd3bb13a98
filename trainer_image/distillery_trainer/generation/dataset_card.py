"""The dataset card, `README.md` beside the rows: their source, the teacher and its parameters, the rejected rows and
the cost, so that the data can still be audited a year later. Dataset hubs read its front matter. The same run always
produces the same card.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distillery_api.formatting import format_cost, shortened
from distillery_api.paths import StageFolder
from distillery_api.run_config import RunConfig
from distillery_api.spec import DataSource, Task, Teacher
from distillery_api.stage_result import RowCounts, StageResult
from distillery_api.usage import Usage
from distillery_trainer.chat.request_parameters import sampling_parameters
from distillery_trainer.data.addresses import without_secrets
from distillery_trainer.data.rows import Message, Row
from distillery_trainer.data.tool_messages import text_of
from distillery_trainer.runtime.files import read_rows, write_atomically
from distillery_trainer.tasks import TaskDefinition
from distillery_trainer.text.markdown import fenced, front_matter, section, table

SAMPLE_ROWS = 3
_SHOWN_BYTES = 700
"""Maximum length of a text in a sample row."""
_CATEGORIES = {
    Task.NLI: "text-classification",
    Task.CLASSIFICATION: "text-classification",
    Task.MULTIPLE_CHOICE: "multiple-choice",
    Task.MATH: "question-answering",
    Task.SUMMARIZATION: "summarization",
    Task.CONVERSATION: "text-generation",
    Task.TEXT: "text-generation",
    Task.EXTRACTION: "text-generation",
    Task.TOOL_CALLING: "text-generation",
}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGEST = "n>1M"
# fmt: off
_HUB_LICENCES = frozenset({
    "apache-2.0", "mit", "cc0-1.0", "cc-by-2.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
    "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0", "odc-by", "odbl", "pddl",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "bsd-3-clause", "gpl-3.0", "lgpl-3.0",
    "agpl-3.0", "mpl-2.0", "unlicense", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "gemma",
})
# fmt: on
"""Identifiers that the Hugging Face Hub knows."""
_NOT_SPECIFIED = "not specified"


def write_card(
    folder: StageFolder,
    config: RunConfig,
    task: TaskDefinition,
    result: StageResult,
    used: Usage,
    *,
    first_row: Row | None = None,
) -> Path:
    """Write the card of a finished generate stage, whose rows are already in the folder. Returns the card's path.

    `used` is what all replies to its rows have cost, whichever run paid for them; `first_row` is the input's first.

    Raises UserError if the volume is full.
    """
    samples = list(itertools.islice(read_rows(folder.train), SAMPLE_ROWS))
    write_atomically(folder.card, card_text(config, task, result, samples, used, first_row=first_row).encode())
    return folder.card


def card_text(
    config: RunConfig,
    task: TaskDefinition,
    result: StageResult,
    samples: Sequence[dict[str, Any]],
    used: Usage,
    *,
    first_row: Row | None = None,
) -> str:
    """The card's text; `samples` are the first training rows, as in their file, `used` what all replies to the rows
    have cost, whichever run paid for them, and `first_row` the input's first row, by default the first sample."""
    sections = (
        _front_matter(config, result),
        _introduction(config),
        section("Source", _source(config, result)),
        section("Teacher", _teachers(config)),
        section("Prompts and parameters", _prompts_and_parameters(config, task, samples, first_row)),
        section("Kept and rejected rows", _row_counts(config, result)),
        section("Cost", _cost(result, used)),
        section("Sample rows", _samples(samples)),
        section("Using the rows", _usage(config)),
    )
    return "\n\n".join(sections) + "\n"


# --- front matter


def _front_matter(config: RunConfig, result: StageResult) -> str:
    rows = result.splits.get("train", RowCounts()).kept + result.splits.get("validation", RowCounts()).kept
    metadata: dict[str, Any] = {
        **_licence_fields(config),
        **({"language": [config.generation.language]} if config.generation.language else {}),
        "task_categories": [_CATEGORIES[config.task]],
        "size_categories": [next((name for limit, name in _SIZES if rows < limit), _LARGEST)],
        "tags": ["distillation", "synthetic"],
        "configs": [
            {"config_name": "default", "data_files": _data_files("train", "validation")},
            {"config_name": "held-out", "data_files": _data_files("test")},
        ],
    }
    return front_matter(metadata)


def _data_files(*splits: str) -> list[dict[str, str]]:
    return [{"split": split, "path": StageFolder(Path()).rows(split).name} for split in splits]


def _licence_fields(config: RunConfig) -> dict[str, Any]:
    all_licences = [config.data.licence, *(teacher.licence for teacher in config.generation.teachers)]
    licences = list(dict.fromkeys(licence for licence in all_licences if licence))
    if not licences:
        return {}
    identifiers = [licence.lower() for licence in licences]
    if all(identifier in _HUB_LICENCES for identifier in identifiers):
        return {"license": identifiers}
    return {"license": "other", "license_name": "; ".join(licences)}


# --- text


def _introduction(config: RunConfig) -> str:
    models = " and ".join(teacher.model for teacher in config.generation.teachers)
    return (
        f"# {config.name}: {config.task} rows answered by {models}\n\n"
        "The answers in this data set were written by a large model to train a small one. Each row of `train.jsonl` and"
        " `validation.jsonl` contains the student prompt and an answer; `test.jsonl` contains the held-out rows, which"
        " no model is trained on; `rejected.jsonl` contains the rejected rows, each with its reason."
    )


def _source(config: RunConfig, result: StageResult) -> str:
    counts = result.splits
    rows = [
        (split, _locations(source), str(source.format), _number(counts[split].read) if split in counts else "")
        for split, source in config.data.sources.items()
    ]
    sentences = [f"Licence of the data: {config.data.licence or _NOT_SPECIFIED}."]
    if config.data.version:
        sentences.append(f"Version: {config.data.version}.")
    if config.data.validation_fraction:
        sentences.append(
            f"The validation rows are {config.data.validation_fraction:g} of the train rows, chosen by content."
        )
    if config.data.test is None:
        sentences.append("The test rows are half of the validation rows, chosen by content.")
    return table(("Split", "Source", "Format", "Rows"), rows) + "\n\n" + "\n".join(sentences)


def _locations(source: DataSource) -> str:
    return ", ".join(map(without_secrets, source.locations))


def _teachers(config: RunConfig) -> str:
    rows = [
        (each.name, each.model, _addresses(each), each.licence or _NOT_SPECIFIED) for each in config.generation.teachers
    ]
    teachers = table(("Name", "Model", "Server", "Licence of its output"), rows)
    judge = config.generation.judge
    if judge is None:
        return teachers
    return f"{teachers}\n\nAnswers were judged by {judge.model} at {without_secrets(judge.endpoint)}."


def _addresses(teacher: Teacher) -> str:
    return ", ".join(dict.fromkeys(without_secrets(server.url) for server in teacher.all_servers))


def _prompts_and_parameters(
    config: RunConfig, task: TaskDefinition, samples: Sequence[dict[str, Any]], first_row: Row | None
) -> str:
    parameters = table(("Parameter", "Value"), list(_parameters(config, task)))
    if first_row is None and samples:
        first_row = Row("train", 1, str(samples[0]["id"]), samples[0]["prompt"])
    if first_row is None:
        return parameters
    teacher, student = task.teacher_messages(first_row), task.student_messages(first_row)
    texts = [
        parameters,
        "Teacher prompt of the first row, and its last message to the teacher:",
        fenced(_system(teacher)),
        fenced(_shortened(text_of(teacher[-1]))),
        "Student prompt, and the row's last message to the student:",
        fenced(_system(student)),
        fenced(_shortened(text_of(student[-1]))),
    ]
    return "\n\n".join(texts)


def _system(messages: Sequence[Message]) -> str:
    return "\n\n".join(message["content"] for message in messages if message["role"] == "system")


def _parameters(config: RunConfig, task: TaskDefinition) -> Iterator[tuple[str, str]]:
    generation = config.generation
    for name, value in sampling_parameters(generation, task.max_tokens, None).items():
        yield name, json.dumps(value)
    yield "samples per row", str(generation.samples)
    settings = generation.model_dump(
        mode="json",
        by_alias=True,
        exclude_defaults=True,
        include={
            "chain_of_thought",
            "chain_of_density",
            "max_summary_words",
            "history",
            "language",
            "keep_reasoning",
            "filters",
            "redaction",
        },
    )
    for name, value in settings.items():
        yield name, value if isinstance(value, str) else json.dumps(value)
    if config.labels:
        yield "labels", ", ".join(config.labels)


def _row_counts(config: RunConfig, result: StageResult) -> str:
    rows = [
        (split, _number(counts.read), _number(counts.kept), _number(counts.rejected), _reasons(counts))
        for split, counts in result.splits.items()
    ]
    counted = table(("Split", "Rows", "Kept", "Rejected", "Rejection reasons"), rows)
    if not config.generation.filters.disagrees_with_gold:
        return counted
    return f"{counted}\n\nRows whose answer disagrees with the gold were rejected, so the data is partly supervised."


def _reasons(counts: RowCounts) -> str:
    by_count = sorted(counts.rejected_by_reason.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {reason}" for reason, count in by_count)


def _cost(result: StageResult, used: Usage) -> str:
    if not used.requests:
        return "No request was sent to a teacher."
    rows = [
        ("Replies", _number(used.requests)),
        ("Input tokens", _number(used.input_tokens)),
        ("of which cached by the server", _number(used.cached_input_tokens)),
        ("Output tokens", _number(used.output_tokens)),
        ("of which reasoning", _number(used.reasoning_tokens)),
        *([("Cost", f"{format_cost(used.cost)} {used.currency or ''}")] if used.cost is not None else []),
    ]
    sentences = [
        "All replies to these rows are counted, whichever run paid for them, also those that were replaced because a"
        " row was asked again.",
        *([f"Estimate before the first request: {result.estimate.sentence()}."] if result.estimate else []),
    ]
    return "\n\n".join([table(("Usage", "Amount"), rows), *sentences])


def _samples(samples: Sequence[dict[str, Any]]) -> str:
    if not samples:
        return "There are no training rows."
    readable = ({name: value for name, value in row.items() if name != "logprobs"} for row in samples)
    shown = (json.dumps(_shortened(row), indent=2, ensure_ascii=False) for row in readable)
    return "Long texts are truncated.\n\n" + "\n\n".join(fenced(row, "json") for row in shown)


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        return shortened(value, _SHOWN_BYTES)
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    return value


def _usage(config: RunConfig) -> str:
    return 'Export the rows as chat rows (`{"messages": [...]}`), which most training tools read:\n\n' + fenced(
        f"distillery export {config.folder} --output rows.jsonl", "sh"
    )


def _number(count: int) -> str:
    return f"{count:,}"
