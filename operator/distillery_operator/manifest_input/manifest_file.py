"""A manifest file -> a Distillation, or every fault in it as a sentence with its line.

Judges as the API server does: the same pydantic models, strict about types (`epochs: "3"` is text in both places),
and YAML as kubectl reads it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from distillery_api.resource import API_VERSION, GROUP, KIND, Distillation
from distillery_operator.manifest_input import yaml_document
from distillery_operator.manifest_input.validation_messages import FieldProblem, field_problems
from distillery_operator.manifest_input.yaml_document import YamlDocument, YamlProblem, field_name, read_documents

SIZE_LIMIT = 3 * 1024 * 1024
"""Bytes; the API server takes no larger request."""

KEPT_METADATA = ("name", "namespace", "labels", "annotations")


class ManifestError(Exception):
    """The file cannot be used. `problems` holds one sentence for each fault, each with file and line."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Manifest:
    """A Distillation and the file that it stands in."""

    path: Path
    distillation: Distillation
    document: YamlDocument

    def problem(self, field: yaml_document.Path, message: str) -> str:
        """A sentence about a field of this file, with its line."""
        return _sentence(self.path, self.document, FieldProblem(field, message))


def read_manifest(path: Path) -> Manifest:
    """The one Distillation in the file. Raises ManifestError."""
    manifests = read_manifests(path)
    if len(manifests) > 1:
        places = ", ".join(f"{each.distillation.metadata.name} (line {each.document.line})" for each in manifests)
        raise ManifestError(
            f"{path}:{manifests[1].document.line}: holds {len(manifests)} Distillations: {places};"
            " a run takes one, so put each in a file of its own"
        )
    return manifests[0]


def read_manifests(path: Path) -> list[Manifest]:
    """Every Distillation in the file, at least one. Raises ManifestError with all faults of all documents."""
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
                f"{path}: larger than {SIZE_LIMIT // 1024**2} MiB, which no API server takes; is this a manifest?"
            )
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ManifestError(f"{path}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise ManifestError(f"{path}: is a folder; name the file in it") from None
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from None


def _manifest(path: Path, document: YamlDocument) -> Manifest:
    faults = _kind_faults(document.value) or _duplicate_faults(document) + _empty_faults(document) + _field_faults(
        document
    )
    if faults:
        faults.sort(key=lambda fault: fault.line or document.line_of(fault.path))
        raise ManifestError(*(_sentence(path, document, fault) for fault in faults))
    return Manifest(path, Distillation.model_validate_json(_json(document.value), strict=True), document)


def _kind_faults(value: Any) -> list[FieldProblem]:
    """What is wrong before the fields can be judged."""
    if not isinstance(value, dict):
        found = "a list" if isinstance(value, list) else "plain text"
        return [
            FieldProblem(
                (), f"holds {found}, not a manifest; start with `apiVersion: {API_VERSION}` and `kind: {KIND}`"
            )
        ]
    kind = value.get("kind")
    if kind != KIND:
        found = f"is `{kind}`" if kind else "missing"
        return [FieldProblem(("kind",), f"{found}; write `kind: {KIND}`")]
    version = value.get("apiVersion")
    if version != API_VERSION:
        found = f"is `{version}`, " if version else "missing; "
        known = f"not a version of {GROUP} that this program knows; " if version else ""
        return [FieldProblem(("apiVersion",), f"{found}{known}write `apiVersion: {API_VERSION}`")]
    return []


def _duplicate_faults(document: YamlDocument) -> list[FieldProblem]:
    """Keys given twice: which value a reader takes is anybody's guess."""
    return [
        FieldProblem(each.path, f"given twice, here and on line {each.first_line}; keep one of the two", each.line)
        for each in document.duplicates
    ]


def _empty_faults(document: YamlDocument) -> list[FieldProblem]:
    """Fields without a value: the API server refuses null where a field has no default."""
    empty = [path for path in document.places if path[0] == "spec" and _at(document.value, path) is None]
    return [FieldProblem(path, "has no value; write one, or remove the field") for path in empty]


def _field_faults(document: YamlDocument) -> list[FieldProblem]:
    empty = {path for path in document.places if _at(document.value, path) is None}
    try:
        Distillation.model_validate_json(_json(document.value), strict=True)
    except ValidationError as error:
        return [each for each in field_problems(error, document) if each.path not in empty]
    return []


def _json(value: dict[str, Any]) -> str:
    """What the API server is sent: the status and what only the server writes left out."""
    metadata = value.get("metadata")
    if isinstance(metadata, dict):
        metadata = {key: metadata[key] for key in KEPT_METADATA if metadata.get(key) is not None}
    sent = {key: part for key, part in value.items() if key != "status"}
    return json.dumps(sent if metadata is None else {**sent, "metadata": metadata})


def _at(value: Any, path: yaml_document.Path) -> Any:
    for part in path:
        value = value[part]
    return value


def _sentence(path: Path, document: YamlDocument, fault: FieldProblem) -> str:
    field = f"{field_name(fault.path)}: " if fault.path else ""
    return f"{path}:{fault.line or document.line_of(fault.path)}: {field}{fault.message}"
