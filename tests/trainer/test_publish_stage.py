"""The publish stage as a process of its own, against a registry on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.stage_result import StageResult
from registry_server import RegistryServer, registry_server
from train_evaluate_run import SYSTEM, TrainEvaluateRun

FILES = {"config.json": b"{}", "model.safetensors": b"weights"}


def publish(
    workspace: Path, registry: RegistryServer, credentials: Any = None, files: Mapping[str, bytes] = FILES
) -> tuple[int, StageResult, str]:
    """Exit code, result and log of the stage."""
    run = TrainEvaluateRun(workspace, workspace / "base")
    model = run.folder(Stage.TRAIN) / "model"
    model.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (model / name).write_bytes(content)
    image = {"repository": f"{registry.host}/team/student", "plainHTTP": True}
    variables = {}
    if credentials is not None:
        (workspace / "config.json").write_text(json.dumps(credentials))
        image["credentials"] = {"secretName": "push"}
        variables = {"DOCKER_CONFIG": str(workspace)}
    config = json.loads(run.config(Stage.EVALUATE).model_dump_json(by_alias=True))
    changes = {"stage": "publish", "folder": "publish-abcdefgh", "modelImage": image}
    path = workspace / "publish.json"
    path.write_text(json.dumps({**config, **changes}))
    command = [sys.executable, "-m", "distillery_trainer", "publish", "--config", str(path)]
    environment = {**os.environ, **variables}
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in process.stderr, process.stderr
    result = StageResult.model_validate_json((workspace / "publish-abcdefgh/result.json").read_bytes())
    return process.returncode, result, process.stderr


def test_the_student_is_pushed_under_the_hash_of_its_training(tmp_path):
    with registry_server() as registry:
        code, result, _ = publish(tmp_path, registry)
        again = publish(tmp_path, registry)[1]
    (tag,) = registry.tags
    assert (code, result.reason) == (0, Reason.SUCCEEDED)
    assert TrainEvaluateRun(tmp_path, tmp_path).folder(Stage.TRAIN).name == f"train-{tag}"
    assert result.model_image == f"{registry.host}/team/student@{registry.tags[tag]}"
    assert again.model_image == result.model_image
    assert "it was there" in again.message
    assert set(registry.files(tag)) == {
        "models",
        "models/config.json",
        "models/model.safetensors",
        "models/student-prompt.txt",
    }
    assert registry.content(tag, "models/student-prompt.txt").decode() == SYSTEM
    assert registry.manifest(tag)["annotations"] == {
        "org.opencontainers.image.title": "tiny",
        "org.opencontainers.image.description": "Student for the task NLI, distilled by Distillery",
        "org.opencontainers.image.version": tag,
        "distillery.dev/base-model": str(tmp_path / "base"),
    }


def test_a_secret_for_another_registry_is_a_sentence(tmp_path):
    with registry_server(users={"alice": "s3cret"}) as registry:
        code, result, log = publish(
            tmp_path, registry, {"auths": {"other.example": {"username": "a", "password": "p4ss"}}}
        )
    assert (code, result.reason) == (2, Reason.PUBLISH_FAILED)
    assert f"the Secret push cannot be used: it has no entry for {registry.host}; those that it has: other.example" in (
        result.message
    )
    assert "p4ss" not in log


def test_refused_credentials_end_the_stage_and_stand_in_no_log(tmp_path):
    with registry_server(users={"alice": "s3cret"}, challenge="Bearer") as registry:
        wrong = {"auths": {registry.host: {"username": "alice", "password": "wr0ng"}}}
        code, result, log = publish(tmp_path, registry, wrong)
        right = {"auths": {registry.host: {"username": "alice", "password": "s3cret"}}}
        done = publish(tmp_path, registry, right)
    assert (code, result.reason) == (2, Reason.PUBLISH_FAILED)
    assert "the registry refuses the credentials of the Secret push" in result.message
    assert "wr0ng" not in log
    assert done[0] == 0
    assert "s3cret" not in done[2]


def test_a_student_that_is_gone_is_a_sentence(tmp_path):
    with registry_server() as registry:
        code, result, _ = publish(tmp_path, registry, files={})
    assert (code, result.reason, registry.requests) == (2, Reason.PUBLISH_FAILED, [])
    assert "/model holds no model" in result.message
