"""A manifest file -> a Distillation, or all problems in it, each with its line.

Validates as the API server does: with the same rules, strict types (`epochs: "3"` is a string in both cases), and YAML
as kubectl reads it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from distillery_api.base import BrokenRules, FieldPath
from distillery_api.formatting import shortened
from distillery_api.resource import API_VERSION, KIND, Distillation
from distillery_operator.manifest_input.validation_messages import NO_VALUE, FieldProblem, field_problems, rule_problems
from distillery_operator.manifest_input.yaml_document import (
    YamlDocument,
    YamlProblem,
    field_name,
    read_documents,
)

SIZE_LIMIT = 3 * 1024 * 1024
"""Bytes. The API server accepts no larger request."""

SHOWN_PATH_LIMIT = 200
"""Characters."""

JSON_SCHEMA = ("spec", "generation", "schema")
KEPT_METADATA = ("name", "namespace", "labels", "annotations")


class ManifestError(Exception):
    """The file cannot be used. `problems` are messages, each with file and line."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Manifest:
    """A Distillation and the file that it comes from."""

    path: Path
    distillation: Distillation
    document: YamlDocument

    def problem(self, field: FieldPath, message: str) -> str:
        """A message about a field of this file, with file and line."""
        return _located_message(self.path, self.document, FieldProblem(field, message))


def read_manifest(path: Path) -> Manifest:
    """The one Distillation in the file. Raises ManifestError."""
    manifests = read_manifests(path)
    if len(manifests) > 1:
        names = ", ".join(f"{each.distillation.metadata.name} (line {each.document.line})" for each in manifests)
        raise ManifestError(
            f"{path}:{manifests[1].document.line}: contains {len(manifests)} Distillations: {names};"
            " a run takes one, so put each in its own file"
        )
    return manifests[0]


def read_manifests(path: Path) -> list[Manifest]:
    """Every Distillation in the file, at least one. Raises ManifestError with all problems of all documents."""
    problems: list[str] = []
    manifests: list[Manifest] = []
    for document in _documents(path):
        try:
            manifests.append(_manifest(path, document))
        except ManifestError as error:
            problems += error.problems
    if problems:
        raise ManifestError(*problems)
    return manifests


def _documents(path: Path) -> list[YamlDocument]:
    try:
        documents = read_documents(_text(path))
    except YamlProblem as problem:
        raise ManifestError(f"{path}:{problem.line}: {problem.message}") from None
    if not documents:
        raise ManifestError(
            f"{path}: is empty; write a manifest that starts with `apiVersion: {API_VERSION}` and `kind: {KIND}`"
        )
    return documents


def _text(path: Path) -> str:
    try:
        if path.is_file() and path.stat().st_size > SIZE_LIMIT:
            raise ManifestError(
                f"{path}: larger than {SIZE_LIMIT // 1024**2} MiB, which no API server accepts; is this a manifest?"
            )
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ManifestError(f"{path}: the file does not exist; check the path") from None
    except IsADirectoryError:
        raise ManifestError(f"{path}: is a folder; give a file in it") from None
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None


def _manifest(path: Path, document: YamlDocument) -> Manifest:
    problems = _kind_problems(document.value)
    if not problems:
        problems = _duplicate_problems(document) + _empty_problems(document) + _boolean_label_problems(document)
        distillation, found = _distillation(document)
        if distillation and not found and not problems:
            return Manifest(path, distillation, document)
        reported = {problem.path for problem in problems}
        problems += [each for each in found if each.path not in reported]
    problems.sort(key=lambda problem: problem.line or document.line_of(problem.path))
    raise ManifestError(*(_located_message(path, document, problem) for problem in problems))


def _distillation(document: YamlDocument) -> tuple[Distillation | None, list[FieldProblem]]:
    """The document as the API server would read it, and the problems of its fields, or else the rules it breaks."""
    broken = BrokenRules()
    try:
        validated = _validated(document, broken)
        return validated, rule_problems(broken.located(validated), document)
    except ValidationError:
        pass
    try:
        return _validated(document, None), []
    except ValidationError as error:
        return None, field_problems(error, document)


def _validated(document: YamlDocument, context: BrokenRules | None) -> Distillation:
    """Fields have only their names in the API. Raises ValidationError."""
    return Distillation.model_validate_json(
        _json(document.value), strict=True, by_alias=True, by_name=False, context=context
    )


def _kind_problems(value: Any) -> list[FieldProblem]:
    """Problems that prevent the validation of fields."""
    if not isinstance(value, dict):
        found = "a list" if isinstance(value, list) else "plain text"
        return [
            FieldProblem(
                (), f"contains {found}, not a manifest; start with `apiVersion: {API_VERSION}` and `kind: {KIND}`"
            )
        ]
    kind = value.get("kind")
    if kind != KIND:
        found = f"is `{kind}`" if kind else "missing"
        return [FieldProblem(("kind",), f"{found}; write `kind: {KIND}`")]
    version = value.get("apiVersion")
    if version != API_VERSION:
        found = f"is `{version}`, " if version else "missing; "
        unsupported = "which this version of distillery does not support; " if version else ""
        return [FieldProblem(("apiVersion",), f"{found}{unsupported}write `apiVersion: {API_VERSION}`")]
    return []


def _duplicate_problems(document: YamlDocument) -> list[FieldProblem]:
    """Keys that occur twice: different programs use different values."""
    return [
        FieldProblem(each.path, f"given twice, here and on line {each.first_line}; keep one of the two", each.line)
        for each in document.duplicates
    ]


def _empty_problems(document: YamlDocument) -> list[FieldProblem]:
    """Fields without a value: the API server rejects null for a field without a default."""
    empty = [path for path in document.locations if _needs_value(path) and _at(document.value, path) is None]
    return [FieldProblem(path, NO_VALUE if len(path) > 1 else "has no value; write its fields below") for path in empty]


def _boolean_label_problems(document: YamlDocument) -> list[FieldProblem]:
    """Labels such as yes and no, which YAML turns into true and false unless they are quoted."""
    labels = [path for path in document.locations if path[:3] == ("spec", "data", "labels")]
    booleans = {path: document.written(path) or "" for path in labels if isinstance(_at(document.value, path), bool)}
    return [
        FieldProblem(path, f'`{written}` is a boolean in YAML, not a string; quote it: "{written}"')
        for path, written in booleans.items()
        if written.lower() not in ("true", "false")
    ]


def _needs_value(path: FieldPath) -> bool:
    is_in_schema = path[:3] == JSON_SCHEMA and len(path) > len(JSON_SCHEMA)  # null is a value there
    return (path[0] == "spec" and not is_in_schema) or path == ("metadata",)


def _json(value: dict[str, Any]) -> str:
    """What kubectl would send, without the status and other fields that only the server writes."""
    metadata = value.get("metadata")
    if isinstance(metadata, dict):
        metadata = {key: metadata[key] for key in KEPT_METADATA if metadata.get(key) is not None}
    sent = {key: part for key, part in value.items() if key != "status"}
    return json.dumps(sent if metadata is None else {**sent, "metadata": metadata})


def _at(value: Any, path: FieldPath) -> Any:
    for part in path:
        value = value[part]
    return value


def _located_message(path: Path, document: YamlDocument, problem: FieldProblem) -> str:
    field = f"{shortened(field_name(problem.path), SHOWN_PATH_LIMIT)}: " if problem.path else ""
    return f"{path}:{problem.line or document.line_of(problem.path)}: {field}{problem.message}"
