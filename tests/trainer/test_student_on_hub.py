"""The push of a student to the Hugging Face Hub: the publish stage as a process of its own, and the library that talks
to a Hub on loopback over HTTP."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.stage_result import StageResult
from train_evaluate_run import SYSTEM, TrainEvaluateRun
from writable_hub import Commit, Repository, WritableHub, writable_hub

WEIGHTS = {f"model-{part}.safetensors": f"weights {part} ".encode() * 1000 for part in (1, 2)}
FILES = {"config.json": b"{}", "README.md": b"---\ntags: [distillation]\n---\n# A student\n", **WEIGHTS}
NAME = "team/student"


def publish(
    workspace: Path,
    hub: WritableHub,
    files: Mapping[str, bytes] = FILES,
    wanted: Mapping[str, Any] = {},
    **variables: str,
) -> tuple[int, StageResult, str]:
    """Exit code, result and log of the stage."""
    process = started(workspace, hub, files, wanted, **variables)
    log = process.communicate(timeout=120)[1]
    assert "Traceback" not in log, log
    result = StageResult.model_validate_json((workspace / "publish-abcdefgh/result.json").read_bytes())
    return process.returncode, result, log


def started(
    workspace: Path, hub: WritableHub, files: Mapping[str, bytes], wanted: Mapping[str, Any] = {}, **variables: str
) -> subprocess.Popen[str]:
    """The stage as a process."""
    run = TrainEvaluateRun(workspace, workspace / "base")
    model = run.folder(Stage.TRAIN) / "model"
    model.mkdir(parents=True, exist_ok=True)
    for path in model.iterdir():
        path.unlink()
    for name, content in files.items():
        (model / name).write_bytes(content)
    config = json.loads(run.config(Stage.EVALUATE).model_dump_json(by_alias=True))
    inputs = {**config["inputs"], "evaluate": "evaluate-abcdefgh"}
    where = {"repository": NAME, "credentials": {"secretName": "hub"}, **wanted}
    changes = {"stage": "publish", "folder": "publish-abcdefgh", "inputs": inputs, "hub": where}
    path = workspace / "publish.json"
    path.write_text(json.dumps({**config, **changes}))
    environment = {
        **os.environ,
        "HF_TOKEN": "hf_writer",
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(workspace / "cache"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        **variables,
    }
    command = [sys.executable, "-m", "distillery_trainer", "publish", "--config", str(path)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def test_the_student_becomes_one_commit_of_a_private_repository_and_a_second_push_none(tmp_path):
    scored = tmp_path / "evaluate-abcdefgh/model-card.md"
    scored.parent.mkdir()
    scored.write_text("---\ntags: [distillation]\n---\n# A student with scores\n")
    with writable_hub() as hub:
        code, result, _ = publish(tmp_path, hub)
        again = publish(tmp_path, hub)[1]
    repository = hub.repositories[NAME]
    commit = repository.branches["main"][-1]
    assert (code, result.reason) == (0, Reason.SUCCEEDED)
    assert result.hub_revision == f"hf://team/student@{commit.oid}"
    assert result.message == f"hf://team/student@{commit.oid} holds the student (5 of 5 files are new)"
    assert (repository.private, len(repository.branches["main"])) == (True, 2)
    assert commit.title == f"tiny: student {TrainEvaluateRun(tmp_path, tmp_path).folder(Stage.TRAIN).name[6:]}"
    assert {name: content for name, content in commit.files.items() if name != ".gitattributes"} == {
        **FILES,
        "README.md": b"---\ntags: [distillation]\n---\n# A student with scores\n",
        "student-prompt.txt": SYSTEM.encode(),
    }
    assert again.hub_revision == result.hub_revision
    assert again.message == f"hf://team/student@{commit.oid} holds the student (it was there)"


def test_a_published_student_can_be_named_as_a_model(tmp_path):
    with writable_hub() as hub:
        revision = publish(tmp_path, hub)[1].hub_revision
        program = f"from distillery_trainer.student.hub import download; print(download({revision!r}))"
        home = str(tmp_path / "other machine")
        variables = {"HF_TOKEN": "hf_writer", "HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": home}
        command = [sys.executable, "-c", program]
        printed = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
    folder = Path(printed.stdout.strip())
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES


def test_the_next_student_replaces_the_one_before_and_leaves_folders_alone(tmp_path):
    with writable_hub() as hub:
        publish(tmp_path, hub)
        before = hub.repositories[NAME].branches["main"]
        before.append(Commit("a" * 40, "by hand", {**before[-1].files, "gguf/student.gguf": b"quantised"}))
        hub.requests.clear()
        result = publish(tmp_path, hub, {**FILES, "model-1.safetensors": b"other " * 1000, "model-2.safetensors": b""})[
            1
        ]
        fewer = {name: content for name, content in FILES.items() if name != "model-2.safetensors"}
        publish(tmp_path, hub, fewer)
    commits = hub.repositories[NAME].branches["main"]
    assert result.message.endswith("holds the student (2 of 5 files are new)")
    assert hub.uploaded() == [hashlib.sha256(b"other " * 1000).hexdigest()]
    assert len(commits) == 5
    assert sorted(commits[-1].files) == [
        ".gitattributes",
        "README.md",
        "config.json",
        "gguf/student.gguf",
        "model-1.safetensors",
        "student-prompt.txt",
    ]


def test_large_files_that_were_uploaded_before_a_kill_are_not_sent_again(tmp_path):
    first, second = (hashlib.sha256(WEIGHTS[name]).hexdigest() for name in sorted(WEIGHTS))
    with writable_hub() as hub:
        hub.on_upload = lambda digest: process.kill() if digest == first else None
        process = started(tmp_path, hub, FILES)
        process.communicate(timeout=120)
        assert (process.returncode, len(hub.repositories[NAME].branches["main"])) == (-9, 1)
        hub.on_upload = lambda digest: None
        code, _, _ = publish(tmp_path, hub)
    assert (code, len(hub.repositories[NAME].branches["main"])) == (0, 2)
    assert hub.uploaded() == [first, second]


def test_a_commit_whose_answer_is_lost_is_not_made_again(tmp_path):
    with writable_hub() as hub:
        publish(tmp_path, hub)
        (tmp_path / "publish-abcdefgh/result.json").unlink()
        result = publish(tmp_path, hub)[1]
    assert result.message.endswith("holds the student (it was there)")
    assert len([request for request in hub.requests if "/commit/" in request]) == 1


def test_a_branch_is_made_and_main_stays_as_it_is(tmp_path):
    with writable_hub(repositories={NAME: Repository(private=True)}) as hub:
        result = publish(tmp_path, hub, wanted={"branch": "candidates/nli"})[1]
    branches = hub.repositories[NAME].branches
    assert result.hub_revision == f"hf://team/student@{branches['candidates/nli'][-1].oid}"
    assert [len(branches[name]) for name in ("main", "candidates/nli")] == [1, 2]


def test_a_public_repository_gets_the_student_only_where_that_is_said(tmp_path):
    with writable_hub(repositories={NAME: Repository(private=False)}) as hub:
        code, result, _ = publish(tmp_path, hub)
        said = publish(tmp_path, hub, wanted={"private": False})
    assert (code, result.reason) == (2, Reason.PUBLISH_FAILED)
    assert result.message == (
        "publication.hub: team/student: this repository is public. Make it private there, name another one, or set"
        " publication.hub.private to false."
    )
    assert said[0] == 0


@pytest.mark.parametrize(
    ("variables", "behaviour", "code", "message"),
    [
        ({"HF_TOKEN": ""}, {}, 2, "the Secret hub has no key HF_TOKEN; put a token there that may write"),
        ({"HF_TOKEN": "hf_revoked"}, {}, 2, "the Hub does not know the token in the Secret hub (HTTP 401: Invalid"),
        (
            {"HF_TOKEN": "hf_reader"},
            {"readers": ("hf_reader",), "repositories": {NAME: Repository(private=True)}},
            2,
            "the Hub does not allow it (HTTP 403: You don't have the rights to commit to this repository); the token in"
            " the Secret hub needs the right to write to this repository",
        ),
        (
            {},
            {"organisations": ("others",)},
            2,
            "the Hub does not allow it (HTTP 403: You don't have the rights to create a model under team)",
        ),
        (
            {},
            {"refusals": [("/objects/batch", 403, "Private repository storage limit reached for hf_writer")]},
            2,
            "(HTTP 403: Private repository storage limit reached for ***); the token in the Secret hub needs the right"
            " to write to this repository, and to make it where there is none, and its owner needs room",
        ),
        ({}, {"refusals": [("/validate-yaml", 400, "base_model is no model")]}, 2, "does not accept the student"),
        (
            {},
            {"refusals": [("/commit/", 412, "A commit has happened since")]},
            3,
            "somebody else has changed the branch",
        ),
        ({}, {"refusals": [("/commit/", 503, "overloaded")]}, 3, "the Hub does not do its work (HTTP 503: overloaded)"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, {}, 3, "Connection refused"),
        ({"HF_HUB_OFFLINE": "1"}, {}, 2, "HF_HUB_OFFLINE is set"),
    ],
)
def test_what_the_hub_refuses_is_a_sentence(tmp_path, variables, behaviour, code, message):
    with writable_hub(**behaviour) as hub:
        exit_code, result, log = publish(tmp_path, hub, **variables)
    assert (exit_code, result.reason) == (code, Reason.PUBLISH_FAILED)
    assert result.message.startswith("publication.hub: team/student: ")
    assert message in result.message
    assert "hf_writer" not in log


def test_large_files_go_through_xet_where_the_library_speaks_it(tmp_path):
    with writable_hub(xet=tmp_path / "storage") as hub:
        code, result, log = publish(tmp_path, hub, HF_HUB_DISABLE_XET="0")
        again = publish(tmp_path, hub, HF_HUB_DISABLE_XET="0")[1]
    assert (code, result.reason) == (0, Reason.SUCCEEDED), log
    stored = hub.repositories[NAME].files()
    assert {name: stored[name].digest for name in WEIGHTS} == {
        name: hashlib.sha256(content).hexdigest() for name, content in WEIGHTS.items()
    }
    assert list((tmp_path / "storage/xet/xorbs").iterdir())
    assert again.message.endswith("holds the student (it was there)")
    assert hub.uploaded() == []
