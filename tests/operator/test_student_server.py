"""`distillery serve` with the folder of a run that somebody else made: nothing in it becomes a flag or leads out."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from distillery_api.run_config import RunConfig
from distillery_api.stage import Stage
from distillery_operator.local.export import ExportError, rows_file
from distillery_operator.local.folder_access import OutsideFolder
from distillery_operator.local.student_server import ServingError, StudentServer, student_server
from distillery_operator.local.student_verification import verification_config
from distillery_operator.planning.plan import make_plan
from distillery_operator.planning.stage_config import StageLocations, run_config
from simulated_cluster import distillation, spec

LEADS_OUT = "a path in its result.json leads out of the folder; do not use a run like this"


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "train-a" / "model").mkdir(parents=True)
    (folder / "train-a" / "model" / "config.json").write_text("{}")
    (folder / "prompt.txt").write_text("Answer.\n")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.txt").write_text("sk-secret")
    write_result(folder)
    return folder


def write_result(folder: Path, **changes: Any) -> None:
    files = {"model": "train-a/model", "studentPrompt": "prompt.txt", **changes.pop("files", {})}
    result = {"name": "nli", "state": "Done", "reason": "Succeeded", "files": files, **changes}
    (folder / "result.json").write_text(json.dumps(result))


def served(folder: Path) -> StudentServer:
    return student_server(folder, "127.0.0.1", 8000)


def refusal(folder: Path) -> str:
    with pytest.raises(ServingError) as refused:
        served(folder)
    return str(refused.value)


def test_the_server_is_started_with_what_the_run_says(run_folder: Path) -> None:
    write_result(run_folder, evaluation={"sampleSize": 3, "precision": "bfloat16"})
    server = served(run_folder)
    assert server.prompt == "Answer."
    assert server.command() == [
        *(sys.executable, "-P", "-X", "utf8", "-m", "distillery_trainer.serving"),
        *(f"--model={run_folder}/train-a/model", "--name=nli", "--dtype=bfloat16"),
        *("--host=127.0.0.1", "--port=8000", "--shutdown-timeout=10"),
    ]


@pytest.mark.parametrize("precision", [None, "float8", "--trust-remote-code"])
def test_an_unknown_precision_is_left_to_the_server(run_folder: Path, precision: str | None) -> None:
    write_result(run_folder, evaluation={"sampleSize": 3, "precision": precision and precision[:16]})
    assert "--dtype=auto" in served(run_folder).command()


@pytest.mark.parametrize(
    "name", ["--trust-remote-code", "-m", "../secret", "/etc", "a b", "", "a\n--port=1", "a" * 300, "\x1b[2J", None, 5]
)
def test_a_name_that_is_none_of_ours_is_refused(run_folder: Path, name: object) -> None:
    write_result(run_folder, name=name)
    damaged = f"{run_folder}/result.json is damaged, or was not written by distillery; run again: distillery run FILE"
    assert refusal(run_folder) == damaged


@pytest.mark.parametrize(
    "path", ["../secret", "/etc", "train-a/../../secret", "link", "link/../../secret", "loop", "a\0b", "x" * 5000]
)
@pytest.mark.parametrize("artefact", ["model", "studentPrompt"])
def test_a_path_that_leads_out_is_refused(run_folder: Path, path: str, artefact: str) -> None:
    (run_folder / "link").symlink_to("../secret")
    (run_folder / "loop").symlink_to("loop")
    write_result(run_folder, files={artefact: path})
    assert refusal(run_folder) == f"{run_folder}: {LEADS_OUT}"


def test_a_link_in_the_model_that_leads_out_is_refused(run_folder: Path) -> None:
    (run_folder / "train-a" / "model" / "chat_template.jinja").symlink_to(run_folder.parent / "secret" / "key.txt")
    assert refusal(run_folder) == f"{run_folder}: {LEADS_OUT}"


@pytest.mark.parametrize("link", ["serving", "serving/server.log"])
def test_the_log_is_not_written_through_a_link_that_leads_out(run_folder: Path, link: str) -> None:
    (run_folder / link).parent.mkdir(exist_ok=True)
    (run_folder / link).symlink_to(run_folder.parent / "secret")
    assert refusal(run_folder) == f"{run_folder}: {LEADS_OUT}"


def test_a_linked_run_folder_and_links_inside_it_are_fine(run_folder: Path) -> None:
    (run_folder / "newest").symlink_to("train-a/model")
    write_result(run_folder, files={"model": "newest"})
    linked = run_folder.parent / "linked"
    linked.symlink_to(run_folder)
    assert served(linked).model == run_folder / "train-a" / "model"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 200_000])
def test_a_result_that_cannot_be_read_is_named(run_folder: Path, content: bytes) -> None:
    (run_folder / "result.json").write_bytes(content)
    assert "result.json is damaged, or was not written by distillery" in refusal(run_folder)


def test_a_huge_result_is_not_read(run_folder: Path) -> None:
    os.truncate(run_folder / "result.json", 4 * 1024**4)  # 4 TiB of holes
    assert "result.json is damaged, or was not written by distillery" in refusal(run_folder)


def test_a_result_that_is_a_pipe_is_not_waited_for(run_folder: Path) -> None:
    (run_folder / "result.json").unlink()
    os.mkfifo(run_folder / "result.json")
    assert "result.json is damaged, or was not written by distillery" in refusal(run_folder)


@pytest.mark.parametrize("content", [b"\xff\xfe\xfd", b"x" * (1024 * 1024 + 1)])
def test_a_student_prompt_that_is_no_text_is_named(run_folder: Path, content: bytes) -> None:
    (run_folder / "prompt.txt").write_bytes(content)
    assert refusal(run_folder) == (
        f"{run_folder}/prompt.txt cannot be read as a student prompt; run again: distillery run FILE"
    )


@pytest.fixture
def evaluated_folder(run_folder: Path) -> Path:
    """A run with an evaluation, which its server is compared with."""
    plan = make_plan(distillation(spec()))
    for stage, name in ((Stage.GENERATE, "test.jsonl"), (Stage.EVALUATE, "predictions.jsonl")):
        (run_folder / f"{stage}-a").mkdir()
        (run_folder / f"{stage}-a" / name).write_text("")
    config = run_config(plan, plan.stage(Stage.EVALUATE), StageLocations("/elsewhere", "/elsewhere", {}))
    (run_folder / "evaluate-a" / "run.json").write_text(config.model_dump_json(by_alias=True))
    write_result(run_folder, files={"test": "generate-a/test.jsonl", "predictions": "evaluate-a/predictions.jsonl"})
    return run_folder


def verification(folder: Path) -> RunConfig | None:
    server = served(folder)
    return verification_config(server, server.result)


def test_a_served_student_is_compared_with_the_evaluation_of_its_run(evaluated_folder: Path) -> None:
    config = verification(evaluated_folder)
    assert config is not None
    assert (config.stage, config.name, config.server_url) == ("verify", "nli", "http://127.0.0.1:8000/v1")
    assert config.inputs == {Stage.GENERATE: "generate-a", Stage.EVALUATE: "evaluate-a"}
    assert (config.workspace, config.folder) == (str(evaluated_folder), "verify-a")
    assert (config.metrics_host, config.termination_message_path) == ("127.0.0.1", None)


@pytest.mark.parametrize("artefact", ["test", "predictions"])
def test_without_an_evaluation_there_is_nothing_to_compare_with(evaluated_folder: Path, artefact: str) -> None:
    (evaluated_folder / served(evaluated_folder).result.files[artefact]).unlink()
    assert verification(evaluated_folder) is None


@pytest.mark.parametrize("path", ["../secret/key.txt", "/etc/passwd", "generate-a/../../secret/x"])
@pytest.mark.parametrize("artefact", ["test", "predictions"])
def test_an_evaluation_that_leads_out_is_refused(evaluated_folder: Path, artefact: str, path: str) -> None:
    files = {"test": "generate-a/test.jsonl", "predictions": "evaluate-a/predictions.jsonl", artefact: path}
    write_result(evaluated_folder, files=files)
    with pytest.raises(OutsideFolder):
        verification(evaluated_folder)


@pytest.mark.parametrize(
    "link", ["generate-a/test.jsonl", "evaluate-a/predictions.jsonl", "evaluate-a/run.json", "verify-a/stage.log"]
)
def test_a_link_of_the_evaluation_that_leads_out_is_refused(evaluated_folder: Path, link: str) -> None:
    (evaluated_folder / "verify-a").mkdir()
    (evaluated_folder / link).unlink(missing_ok=True)
    (evaluated_folder / link).symlink_to(evaluated_folder.parent / "secret" / "key.txt")
    with pytest.raises(OutsideFolder):
        verification(evaluated_folder)


@pytest.mark.parametrize("content", ["", "{", '{"stage": "evaluate"}', "x" * 2_000_000])
def test_a_configuration_that_cannot_be_read_is_named(evaluated_folder: Path, content: str) -> None:
    (evaluated_folder / "evaluate-a" / "run.json").write_text(content)
    with pytest.raises(ServingError, match=r"evaluate-a/run\.json is missing or damaged; run again"):
        verification(evaluated_folder)


def test_rows_outside_the_run_are_not_exported(run_folder: Path) -> None:
    write_result(run_folder, files={"train": "../secret/key.txt"})
    with pytest.raises(ExportError, match="leads out of the folder"):
        rows_file(run_folder, "train")
