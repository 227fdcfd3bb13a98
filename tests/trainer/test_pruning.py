"""Folders of runs that nobody needs are deleted: those that the operator names, and no other's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from distillery_api.run_config import RunConfig
from distillery_api.stage import Stage
from distillery_trainer.runtime import pruning
from distillery_trainer.runtime.folder_locks import locked_folders
from distillery_trainer.runtime.pruning import note_use
from train_evaluate_run import TrainEvaluateRun

OLD = "train-aaaaaaaa"


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """A training that is to delete an old one."""
    return TrainEvaluateRun(tmp_path, tmp_path / "base").config(Stage.TRAIN).model_copy(update={"prune": (OLD,)})


def prune(config: RunConfig) -> tuple[str, ...]:
    """What a stage deletes when it starts."""
    with locked_folders(config):
        return pruning.prune(config)


def trained(config: RunConfig, name: str, folder: str = OLD) -> Path:
    """A training that the Distillation `name` has finished."""
    note_use(config.model_copy(update={"name": name, "folder": folder}))
    path = config.paths.stage(folder).path
    (path / "model").mkdir(parents=True, exist_ok=True)
    (path / "model" / "model.safetensors").write_text("weights")
    (path / "result.json").write_text("{}")
    return path


def test_named_folder_is_deleted_and_every_other_kept(config: RunConfig):
    old, other = trained(config, "tiny"), trained(config, "tiny", "train-bbbbbbbb")
    config.paths.replies.mkdir()
    assert prune(config) == (OLD,)
    assert (old.exists(), other.exists(), config.paths.replies.exists()) == (False, True, True)
    assert prune(config) == ()


def test_folder_that_another_distillation_uses_is_kept_until_it_is_the_last(config: RunConfig):
    old = trained(config, "tiny")
    trained(config, "other")
    assert prune(config) == ()
    assert old.exists()
    assert prune(config.model_copy(update={"name": "other"})) == (OLD,)
    assert not old.exists()


def test_folder_of_a_release_that_noted_no_use_is_kept(config: RunConfig):
    old = trained(config, "tiny")
    shutil.rmtree(config.paths.root / ".users")
    assert prune(config) == ()
    assert old.exists()


def test_folder_that_a_stage_uses_at_this_moment_is_left_for_the_next_time(config: RunConfig):
    old = trained(config, "tiny")
    with locked_folders(
        config.model_copy(update={"name": "other", "folder": "evaluate-cccccccc", "inputs": {Stage.TRAIN: OLD}})
    ):
        assert prune(config) == ()
    assert old.exists()
    assert prune(config) == (OLD,)


def test_folders_of_the_stage_itself_are_never_deleted(config: RunConfig):
    own = config.model_copy(update={"prune": (config.folder, *config.inputs.values())})
    note_use(own)
    assert prune(own) == ()
    assert config.paths.stage(config.inputs[Stage.GENERATE]).train.exists()


def test_deleting_goes_on_where_a_killed_stage_left_off(config: RunConfig):
    old = trained(config, "tiny")
    (old / "result.json").unlink()
    assert prune(config) == (OLD,)
    assert not old.exists()
    trained(config, "tiny")
    shutil.rmtree(old)
    assert prune(config) == (OLD,)
    assert not (config.paths.users(OLD) / "tiny").exists()


@pytest.mark.parametrize("folder", ["replies", "..", "train-a/../../x", "/etc", "", "serving", ".locks"])
def test_only_stage_folders_can_be_named(config: RunConfig, folder: str):
    with pytest.raises(ValidationError):
        RunConfig.model_validate(config.model_dump() | {"prune": [folder]})


def test_adapter_that_servers_load_is_deleted_with_its_training(config: RunConfig):
    trained(config, "tiny")
    adapters = [config.paths.served_adapter(folder) for folder in (OLD, "train-bbbbbbbb")]
    for adapter in adapters:
        adapter.mkdir(parents=True)
    assert prune(config) == (OLD,)
    assert [adapter.exists() for adapter in adapters] == [False, True]


BASE = "base-aaaaaaaa"


def kept_base(config: RunConfig, name: str) -> Path:
    """The base model on which the Distillation `name` has trained a student that is served as an adapter."""
    note_use(config.model_copy(update={"name": name, "folder": f"train-{name}", "base_folder": BASE}))
    path = config.paths.base_model(BASE)
    path.mkdir(exist_ok=True)
    (path / "model.safetensors").write_text("weights")
    return path


def test_a_base_model_is_deleted_once_no_distillation_trains_on_it(config: RunConfig):
    base, prunes = kept_base(config, "tiny"), config.model_copy(update={"prune": (BASE,)})
    kept_base(config, "other")
    assert prune(prunes) == ()
    assert base.exists()
    assert prune(prunes.model_copy(update={"name": "other"})) == (BASE,)
    assert not base.exists()


def test_a_base_model_that_nobody_has_noted_or_that_is_trained_on_now_is_kept(config: RunConfig):
    base, prunes = kept_base(config, "tiny"), config.model_copy(update={"prune": (BASE,)})
    assert prune(prunes.model_copy(update={"base_folder": BASE})) == ()
    shutil.rmtree(config.paths.root / ".users")
    assert prune(prunes) == ()
    assert base.exists()
