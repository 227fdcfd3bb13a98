import json
import stat
from pathlib import Path

import pytest

import run as quickstart
from distillery_operator.manifest_input.manifest_file import read_manifest

SUPPORT = Path(__file__).parents[1] / "support"


def test_example_is_short_and_valid():
    path = quickstart.EXAMPLE / "distillation.yaml"
    assert read_manifest(path).distillation.metadata.name == "quickstart"
    assert len([line for line in path.read_text().splitlines() if not line.startswith("#")]) <= 26


def test_stand_in_is_used_unless_a_teacher_is_set():
    assert quickstart.teacher_of({}) is None
    variables = {"TEACHER_URL": "https://t.example/v1", "TEACHER_MODEL": "big", "TEACHER_API_KEY": "k"}
    assert quickstart.teacher_of(variables) == quickstart.Teacher("https://t.example/v1", "big", "k")


def test_half_a_teacher_is_refused():
    with pytest.raises(ValueError, match="TEACHER_MODEL is not set"):
        quickstart.teacher_of({"TEACHER_URL": "https://t.example/v1"})


def test_manifest_refers_to_the_teacher_and_never_contains_its_key(tmp_path):
    path = quickstart.write_manifest(tmp_path, quickstart.Teacher("https://t.example/v1", "big", "s3cret"))
    teacher = read_manifest(path).distillation.spec.generation.teachers[0]
    assert (teacher.endpoint, teacher.model, teacher.api_key.secret_name) == ("https://t.example/v1", "big", "teacher")
    assert "s3cret" not in path.read_text()


def test_key_file_is_private_and_deleted_afterwards(tmp_path):
    with quickstart.key_file(tmp_path, "s3cret") as path:
        assert path.read_text() == "api-key=s3cret\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_whole_example_runs_and_its_second_call_finds_nothing_to_do(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT / "scripted_trainer"))
    (tmp_path / "student").mkdir()
    assert quickstart.main(tmp_path) == 0
    first = capfd.readouterr().out
    assert "stands in for a large language model" in first
    assert f"$ distillery run {tmp_path}/distillation.yaml --out {tmp_path}" in first
    assert json.loads((tmp_path / "result.json").read_text())["state"] == "Done"
    assert len((tmp_path / "data" / "train.jsonl").read_text().splitlines()) == 300
    assert quickstart.main(tmp_path) == 0
    assert "Nothing left to do: all stages are done." in capfd.readouterr().out
