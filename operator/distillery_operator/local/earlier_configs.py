"""The configurations of earlier runs in a workspace, and what differs in a new one: `run.json` in the stage folders."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from distillery_api.base import ApiModel
from distillery_api.paths import CONFIG_FILE, StageFolder, Workspace
from distillery_api.run_config import RunConfig
from distillery_api.stage import Stage
from distillery_operator.local.folder_access import read_bounded
from distillery_operator.planning.identity import identity_fields

CONFIG_LIMIT = 1024 * 1024
"""Bytes."""
_DEFAULT = "the default"
_LONGEST = 60
"""Characters of a value that are shown."""


def read_config(folder: StageFolder) -> RunConfig | None:
    """The configuration in a stage's folder; None where there is none that can be read."""
    try:
        return RunConfig.model_validate_json(read_bounded(folder.config, CONFIG_LIMIT))
    except (OSError, ValueError):
        return None


def latest_config(workspace: Workspace, stage: Stage, but: str = "") -> RunConfig | None:
    """The configuration that a stage was started with last, in another folder than `but`."""
    paths = [path for path in workspace.root.glob(f"{stage}-*/{CONFIG_FILE}") if path.parent.name != but]
    newest_first = sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)
    configs = (read_config(StageFolder(path.parent)) for path in newest_first)
    return next((config for config in configs if config is not None), None)


def changes(before: RunConfig, after: RunConfig) -> list[str]:
    """The fields that make a stage run again, each with its value and the one before, as in `training.epochs: 3, before
    2`."""
    old, new = dict(_fields(before)), dict(_fields(after))
    names = [name for name in dict.fromkeys([*new, *old]) if old.get(name) != new.get(name)]
    return [f"{name}: {_shown(new.get(name))}, before {_shown(old.get(name))}" for name in names]


def _fields(config: RunConfig) -> Iterator[tuple[str, Any]]:
    """What a stage's result depends on, by the names of the manifest's fields."""
    if config.stage is Stage.GENERATE:
        sampling = config.generation.chosen_sampling
        generation = config.generation.model_copy(update={"sampling": sampling})
        yield "task", config.task.value
        yield from _flat("data", config.data)
        yield from _flat("generation", generation)
    elif config.stage is Stage.TRAIN:
        yield "student.model.uri", config.student.model.uri
        yield from _flat("training", config.training)
    elif config.stage is Stage.EVALUATE:
        yield from _flat("evaluation", config.evaluation)


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, ApiModel):
        value = identity_fields(value)
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(f"{name}.{key}", item)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from _flat(f"{name}[{number}]", item)
    else:
        yield name, value


def _shown(value: Any) -> str:
    text = _DEFAULT if value is None else " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
