from pathlib import Path

import pytest

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_operator.local.fingerprints import fingerprint
from distillery_operator.local.references import (
    InputsError,
    LocalSubstitutes,
    find_inputs,
)
from distillery_operator.local.run import stage_variables
from distillery_operator.manifest_input.manifest_file import read_manifest
from distillery_operator.planning.plan import make_plan

MANIFEST = """\
apiVersion: distillery.dev/v1alpha1
kind: Distillation
metadata: {name: conjnli}
spec:
  task: NLI
  data:
    train: {uri: pvc://datasets/nli/train.jsonl}
    validation: {uri: configmap://rows/validation.jsonl}
    test: {uri: test.jsonl}
  generation:
    teachers:
    - {name: big, endpoint: "http://127.0.0.1:9/v1", model: big, apiKey: {secretName: teacher, key: token}}
  student:
    model: {uri: student}
    credentials: {secretName: hub}
"""


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "manifest.yaml"
    path.write_text(MANIFEST)
    return read_manifest(path)


def refused(manifest, **mappings):
    with pytest.raises(InputsError) as caught:
        find_inputs(manifest, LocalSubstitutes(**mappings))
    return [problem.removeprefix(f"{manifest.path}:") for problem in caught.value.problems], caught.value.reason


def supplied(tmp_path):
    """Everything that the manifest refers to."""
    (tmp_path / "claim" / "nli").mkdir(parents=True)
    (tmp_path / "claim" / "nli" / "train.jsonl").write_text("train\n")
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "validation.jsonl").write_text("validation\n")
    (tmp_path / "test.jsonl").write_text("test\n")
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "config.json").write_text("{}")
    (tmp_path / "teacher.env").write_text("token=abc=\n")
    (tmp_path / "hub.env").write_text("HF_TOKEN=hf\nHF_ENDPOINT=x\n")
    return {
        "claims": {"datasets": tmp_path / "claim"},
        "configmaps": {"rows": tmp_path / "rows"},
        "secrets": {"teacher": tmp_path / "teacher.env", "hub": tmp_path / "hub.env"},
    }


def test_every_unmapped_reference_shows_its_option(manifest, tmp_path):
    problems, reason = refused(manifest)
    assert problems == [
        "7: spec.data.train.uri: pvc://datasets/nli/train.jsonl is in the PersistentVolumeClaim datasets, which only a"
        " cluster has; use a local folder instead: --claim datasets=DIR",
        "8: spec.data.validation.uri: configmap://rows/validation.jsonl is in the ConfigMap rows, which only a cluster"
        " has; use a local folder instead: --configmap rows=DIR",
        f"9: spec.data.test.uri: {tmp_path}/test.jsonl does not exist; check the path (a plain path is relative to"
        f" the manifest's folder, {tmp_path})",
        "12: spec.generation.teachers[0].apiKey: the Secret teacher is only in a cluster; use a local file of KEY=VALUE"
        " lines instead: --secret teacher=ENVFILE, or a variable of the environment: --secret teacher=env:VARIABLE",
        f"14: spec.student.model.uri: {tmp_path}/student does not exist; check the path (a plain path is relative to"
        f" the manifest's folder, {tmp_path})",
        "15: spec.student.credentials: the Secret hub is only in a cluster; use a local file of KEY=VALUE lines"
        " instead: --secret hub=ENVFILE, or a variable of the environment: --secret hub=env:VARIABLE",
    ]
    assert reason is Reason.CONFIGURATION_MISSING


def test_mapped_references_become_mounts_secrets_and_fingerprints(manifest, tmp_path):
    inputs = find_inputs(manifest, LocalSubstitutes(**supplied(tmp_path)))
    assert inputs.mounts == {"pvc://datasets": str(tmp_path / "claim"), "configmap://rows": str(tmp_path / "rows")}
    assert inputs.base_path == str(tmp_path)
    assert inputs.secrets == {"teacher": {"token": "abc="}, "hub": {"HF_TOKEN": "hf", "HF_ENDPOINT": "x"}}
    assert sorted(inputs.fingerprints) == [
        "configmap://rows/validation.jsonl",
        "pvc://datasets/nli/train.jsonl",
        "student",
        "test.jsonl",
    ]
    assert inputs.fingerprints["test.jsonl"].startswith("f2ca1bb6c7e907d0")


def test_a_run_needs_the_settings_of_its_trackers_and_an_estimate_does_not(tmp_path):
    given = supplied(tmp_path)
    path = tmp_path / "tracked.yaml"
    path.write_text(f"{MANIFEST}  tracking: {{reportTo: [MLflow], credentials: {{secretName: mlflow}}}}\n")
    manifest = read_manifest(path)
    problems, _ = refused(manifest, **given)
    assert [problem.partition(";")[0] for problem in problems] == [
        "16: spec.tracking.credentials: the Secret mlflow is only in a cluster"
    ]
    plan = make_plan(manifest.distillation)
    estimated = find_inputs(manifest, LocalSubstitutes(**given), keys=False)
    assert stage_variables(plan, estimated, Stage.TRAIN, keys=False) == {"HF_TOKEN": "hf", "HF_ENDPOINT": "x"}
    (tmp_path / "mlflow.env").write_text("MLFLOW_TRACKING_URI=http://127.0.0.1:5000\n")
    given["secrets"]["mlflow"] = tmp_path / "mlflow.env"
    inputs = find_inputs(manifest, LocalSubstitutes(**given))
    variables = stage_variables(plan, inputs, Stage.TRAIN)
    assert variables["DISTILLERY_TRACKING_MLFLOW_TRACKING_URI"] == "http://127.0.0.1:5000"


def test_link_out_of_the_folder_of_a_claim_is_refused(manifest, tmp_path):
    mappings = supplied(tmp_path)
    rows = tmp_path / "claim" / "nli" / "train.jsonl"
    rows.rename(tmp_path / "elsewhere.jsonl")
    rows.symlink_to(tmp_path / "elsewhere.jsonl")
    problems, _ = refused(manifest, **mappings)
    assert problems == [
        f"7: spec.data.train.uri: pvc://datasets/nli/train.jsonl leads out of {tmp_path}/claim, to"
        f" {tmp_path}/elsewhere.jsonl; copy the file into the folder, or name another one: --claim datasets=DIR"
    ]


def test_suspended_distillation_does_not_run(manifest, tmp_path):
    manifest.path.write_text(MANIFEST.replace("  task: NLI\n", "  task: NLI\n  suspend: true\n"))
    problems, reason = refused(read_manifest(manifest.path), **supplied(tmp_path))
    assert problems == ["6: spec.suspend: is true, so nothing runs; set it to false"]
    assert reason is Reason.SUSPENDED


def test_missing_rows_are_invalid_data(manifest, tmp_path):
    mappings = supplied(tmp_path)
    (tmp_path / "test.jsonl").unlink()
    problems, reason = refused(manifest, **mappings)
    assert len(problems) == 1
    assert reason is Reason.INVALID_DATA


def test_folder_without_rows_and_file_for_a_model_are_refused(manifest, tmp_path):
    mappings = supplied(tmp_path)
    (tmp_path / "test.jsonl").unlink()
    (tmp_path / "test.jsonl").mkdir()
    (tmp_path / "student" / "config.json").unlink()
    (tmp_path / "student").rmdir()
    (tmp_path / "student").write_text("weights")
    problems, _ = refused(manifest, **mappings)
    assert problems == [
        f"9: spec.data.test.uri: {tmp_path}/test.jsonl: the folder holds no file of rows; their names end with .jsonl,"
        " .ndjson, .json, .csv, .tsv, .parquet, also compressed",
        f"14: spec.student.model.uri: {tmp_path}/student is a file; give the folder that contains config.json and the"
        " weights",
    ]


def test_folder_for_a_claim_must_exist(manifest, tmp_path):
    mappings = supplied(tmp_path) | {"claims": {"datasets": tmp_path / "elsewhere"}}
    problems, _ = refused(manifest, **mappings)
    assert problems == [
        f"7: spec.data.train.uri: --claim datasets={tmp_path}/elsewhere: the folder does not exist; check the path"
    ]


def test_key_of_a_teacher_may_be_a_variable_of_the_environment(manifest, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "s3cret")
    mappings = supplied(tmp_path)
    mappings["secrets"] |= {"teacher": Path("env:MY_KEY")}
    found = find_inputs(manifest, LocalSubstitutes(**mappings))
    assert found.secrets["teacher"] == {"MY_KEY": "s3cret", "token": "s3cret"}
    mappings["secrets"] |= {"teacher": Path("env:other=MY_KEY")}
    problems, _ = refused(manifest, **mappings)
    assert problems == [
        "12: spec.generation.teachers[0].apiKey: the key token of the Secret teacher is not among other; write --secret"
        " teacher=env:token=VARIABLE"
    ]


def test_missing_key_names_the_keys_but_never_a_value(manifest, tmp_path):
    mappings = supplied(tmp_path)
    (tmp_path / "teacher.env").write_text("api-key=s3cret\n")
    problems, _ = refused(manifest, **mappings)
    assert problems == [
        f"12: spec.generation.teachers[0].apiKey: the key token of the Secret teacher is not in {tmp_path}/teacher.env,"
        " which has api-key; add a line token=…"
    ]


def test_fingerprint_of_a_file_is_its_sha256(tmp_path):
    (tmp_path / "a").write_text("abc")
    assert fingerprint(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_fingerprint_of_a_folder_follows_content_names_and_nothing_hidden(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "config.json").write_text("{}")
    (tmp_path / "two" / ".cache").mkdir()
    (tmp_path / "two" / ".cache" / "lock").write_text("x")
    same = fingerprint(tmp_path / "one")
    assert fingerprint(tmp_path / "two") == same
    (tmp_path / "two" / "sub" / "config.json").write_text("{ }")
    assert fingerprint(tmp_path / "two") != same


def test_fingerprint_of_large_weights_sees_a_change_in_any_sampled_block(tmp_path):
    weights = tmp_path / "model" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(bytes(8 * 1024 * 1024))
    before = fingerprint(weights.parent)
    content = bytearray(8 * 1024 * 1024)
    content[4 * 1024 * 1024 : 4 * 1024 * 1024 + 200_000] = b"x" * 200_000
    weights.write_bytes(content)
    assert fingerprint(weights.parent) != before


@pytest.fixture
def extraction(tmp_path):
    path = tmp_path / "extraction.yaml"
    text = MANIFEST.replace("task: NLI", "task: Extraction")
    path.write_text(text.replace("  generation:\n", "  generation:\n    schemaUri: configmap://forms/schema.json\n"))
    return read_manifest(path)


def test_a_schema_in_a_configmap_is_a_file_of_the_mapped_folder(extraction, tmp_path):
    mappings = supplied(tmp_path)
    assert (
        "11: spec.generation.schemaUri: configmap://forms/schema.json is in the ConfigMap forms"
        in (refused(extraction, **mappings)[0][0])
    )
    forms = tmp_path / "forms"
    forms.mkdir()
    mappings["configmaps"]["forms"] = forms
    problems, reason = refused(extraction, **mappings)
    assert (problems, reason) == (
        [f"11: spec.generation.schemaUri: {forms}/schema.json does not exist; check the path"],
        Reason.INVALID_DATA,
    )
    (forms / "schema.json").write_text("{}")
    found = find_inputs(extraction, LocalSubstitutes(**mappings))
    assert found.mounts["configmap://forms"] == str(forms)
    assert found.fingerprints["configmap://forms/schema.json"] == fingerprint(forms / "schema.json")
