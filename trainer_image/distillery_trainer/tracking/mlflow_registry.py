"""The student in MLflow's registry of models: a version with the alias `candidate` once it is evaluated, and with
`champion` once it is served and verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distillery_api.formatting import shortened
from distillery_api.run_config import RunConfig
from distillery_api.stage import Stage
from distillery_api.stage_result import StageResult

if TYPE_CHECKING:
    from mlflow import MlflowClient

FOLDER_TAG = "distillery.folder"
_CANDIDATE, _CHAMPION = "candidate", "champion"
_LONGEST_DESCRIPTION = 5000


def register(client: MlflowClient, config: RunConfig, run: str, result: StageResult) -> None:
    """Make an evaluated student a version of the registered model, or one that is served its champion."""
    if config.tracking is None or config.tracking.registered_model is None:
        return
    name, train = config.tracking.registered_model, config.inputs.get(Stage.TRAIN, "")
    version = _version(client, name, train)
    if config.stage is Stage.EVALUATE:
        version = version or _new_version(client, config, name, run, result)
        client.set_registered_model_alias(name, _CANDIDATE, version)
    elif config.stage is Stage.VERIFY and config.asks_server_of_users and version is not None:
        client.set_registered_model_alias(name, _CHAMPION, version)


def _version(client: MlflowClient, name: str, train: str) -> str | None:
    """The version of the student that was trained in a folder; None where it is not registered."""
    found = client.search_model_versions(f"name='{name}'")
    return next((str(each.version) for each in found if each.tags.get(FOLDER_TAG) == train), None)


def _new_version(client: MlflowClient, config: RunConfig, name: str, run: str, result: StageResult) -> str:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    train = config.inputs[Stage.TRAIN]
    version = client.create_model_version(
        name,
        # The files stay in the workspace: they may be many gigabytes.
        source=f"distillery://{config.name}/{train}/model",
        run_id=run,
        tags={FOLDER_TAG: train, "distillery.name": config.name},
        description=shortened(result.message, _LONGEST_DESCRIPTION),
    )
    return str(version.version)
