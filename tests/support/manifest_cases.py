"""The table of good and bad manifests, for the tests that ask pydantic and those that ask the API server."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TABLE = Path(__file__).parents[1] / "data" / "input" / "manifests.yaml"


@dataclass(frozen=True)
class ManifestCase:
    """One manifest, and a part of the sentence that refuses it (None where it is accepted)."""

    say: str
    manifest: dict[str, Any]
    refused: str | None
    beyond_cel: bool = False
    """Whether only Python refuses it, because CEL cannot express the rule."""


def manifest_cases() -> list[ManifestCase]:
    table = yaml.safe_load(TABLE.read_text())
    return [_case(table["minimal"], entry) for entry in table["cases"]]


def minimal_manifest() -> dict[str, Any]:
    return yaml.safe_load(TABLE.read_text())["minimal"]


def _case(minimal: dict[str, Any], entry: dict[str, Any]) -> ManifestCase:
    manifest = copy.deepcopy(minimal)
    for path, value in entry.get("set", {}).items():
        parent, key = _parent_and_key(manifest, path)
        parent[key] = value
    for path in entry.get("remove", []):
        parent, key = _parent_and_key(manifest, path)
        del parent[key]
    return ManifestCase(entry["say"], manifest, entry.get("refused"), entry.get("beyondCel", False))


def _parent_and_key(manifest: dict[str, Any], path: str) -> tuple[Any, str | int]:
    """The container of the dotted `path` and the last key in it; missing objects on the way are made."""
    node: Any = manifest
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        node = node[part] if isinstance(node, list) else node.setdefault(part, {})
    return node, last
