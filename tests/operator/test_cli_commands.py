import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from distillery_operator.cli.app import app

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart" / "distillation.yaml"

MANIFEST = """\
apiVersion: distillery.dev/v1alpha1
kind: Distillation
metadata: {name: conjnli}
spec:
  task: NLI
  data: {train: {uri: pvc://datasets/train.jsonl}, validation: {uri: pvc://datasets/validation.jsonl}}
  generation:
    teachers: [{name: big, endpoint: "https://teacher.example/v1", model: big}]
  student: {model: {uri: hf://org/student}}
"""


@pytest.fixture
def distillery(tmp_path, monkeypatch):
    """Runs the command line in an empty folder that holds a manifest."""
    monkeypatch.chdir(tmp_path)
    Path("conjnli.yaml").write_text(MANIFEST)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_version_is_shown(distillery):
    assert distillery("--version").stdout == "distillery 0.1.0\n"


def test_validate_names_each_good_file(distillery):
    result = distillery("validate", "conjnli.yaml", QUICKSTART)
    assert result.exit_code == 0
    assert result.stdout == f"conjnli.yaml: conjnli is valid\n{QUICKSTART}: quickstart is valid\n"


def test_validate_lists_the_problems_of_all_files(distillery):
    Path("bad.yaml").write_text(MANIFEST.replace("task: NLI", "task: Haiku") + "  speed: 3\n")
    result = distillery("validate", "bad.yaml", "nothing.yaml", "conjnli.yaml")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "bad.yaml:5: spec.task: `Haiku` is not an allowed value; write NLI, MultipleChoice, Classification, Math,"
        " Summarization, Conversation, Text, Extraction or ToolCalling",
        "bad.yaml:10: spec.speed: unknown field; known fields are task, suspend, queue, managedBy, childMetadata,"
        " data, generation, student, training, evaluation, publication, serving, tracking, storage",
        "nothing.yaml: the file does not exist; check the path",
    ]
    assert result.stdout == "conjnli.yaml: conjnli is valid\n"


def test_plan_shows_stages_and_names(distillery):
    result = distillery("plan", "conjnli.yaml")
    assert result.exit_code == 0
    for part in ("conjnli-generate-", "conjnli-train-", "conjnli-evaluate-", "conjnli-workspace", "with VLLM"):
        assert part in result.stdout


def test_plan_without_the_student_says_why_it_states_no_memory(distillery):
    result = distillery("plan", "conjnli.yaml")
    assert result.exit_code == 0
    assert "train: memory: " in " ".join(result.stderr.split())


def test_plan_says_what_will_not_start(distillery):
    manifest = Path("conjnli.yaml")
    manifest.write_text(manifest.read_text().replace("spec:\n", "spec:\n  training: {method: QLoRA}\n", 1))
    result = distillery("plan", "conjnli.yaml")
    assert result.exit_code == 0
    assert "In a cluster, this will not start: training.method: QLoRA needs a GPU; ask for one" in " ".join(
        result.stderr.split()
    )


def test_plan_says_which_gpus_no_process_would_use(distillery):
    manifest = Path("conjnli.yaml")
    four = "spec:\n  training: {resources: {limits: {nvidia.com/gpu: 4}}}\n"
    manifest.write_text(manifest.read_text().replace("spec:\n", four, 1))
    said = "train: of the 4 GPUs in training.resources, one process uses one; set training.gpusPerNode to 4, or ask for"
    assert said in " ".join(distillery("plan", "conjnli.yaml").stdout.split())
    manifest.write_text(manifest.read_text().replace("gpu: 4", "gpu: 1"))
    assert "one process uses one" not in " ".join(distillery("plan", "conjnli.yaml").stdout.split())


def test_plan_prints_every_manifest(distillery):
    result = distillery("plan", "conjnli.yaml", "--manifests")
    kinds = [manifest["kind"] for manifest in yaml.safe_load_all(result.stdout)]
    stage = ["ConfigMap", "Job"]
    assert kinds == ["PersistentVolumeClaim", *stage, *stage, *stage, "Deployment", "Service", *stage]


def test_plan_does_nothing(distillery):
    distillery("plan", "conjnli.yaml", "--manifests")
    assert [path.name for path in Path().iterdir()] == ["conjnli.yaml"]


def test_unmapped_claim_shows_its_option_and_is_recorded_in_the_result(distillery):
    result = distillery("run", "conjnli.yaml")
    assert result.exit_code == 2
    message = (
        "conjnli.yaml:6: spec.data.train.uri: pvc://datasets/train.jsonl is in the PersistentVolumeClaim datasets,"
        " which only a cluster has; use a local folder instead: --claim datasets=DIR"
    )
    assert result.stderr.splitlines()[0] == message
    saved = json.loads(Path("runs/conjnli/result.json").read_text())
    assert (saved["state"], saved["reason"]) == ("Failed", "ConfigurationMissing")
    assert saved["message"].splitlines()[0] == message


def test_missing_rows_are_recorded_as_invalid_data(distillery, tmp_path):
    result = distillery("run", "conjnli.yaml", "--claim", f"datasets={tmp_path}", "--out", "here")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"conjnli.yaml:6: spec.data.train.uri: {tmp_path}/train.jsonl does not exist; check the path",
        f"conjnli.yaml:6: spec.data.validation.uri: {tmp_path}/validation.jsonl does not exist; check the path",
    ]
    assert json.loads(Path("here/result.json").read_text())["reason"] == "InvalidData"


def test_mapping_without_a_name_is_explained(distillery):
    result = distillery("run", "conjnli.yaml", "--claim", "datasets")
    assert result.exit_code == 2
    assert "'datasets' is not NAME=PATH" in result.stderr


def test_folder_with_a_foreign_result_is_left_alone(distillery):
    Path("here").mkdir()
    Path("here/result.json").write_text('{"passed": 3}')
    result = distillery("run", "conjnli.yaml", "--out", "here")
    assert result.exit_code == 2
    assert "here/result.json was not written by distillery" in result.stderr
    assert Path("here/result.json").read_text() == '{"passed": 3}'


def test_serve_requires_the_folder_of_a_run(distillery):
    result = distillery("serve", ".")
    assert result.exit_code == 2
    assert (
        result.stderr
        == ". is not the folder of a run; give one, such as runs/NAME, or start a run: distillery run FILE\n"
    )


def test_serve_requires_a_trained_student(distillery):
    distillery("run", "conjnli.yaml")
    result = distillery("serve", "runs/conjnli")
    assert result.exit_code == 2
    assert "runs/conjnli has no trained student yet" in result.stderr


FAILED_GATE = {"met": False, "message": "score 0.75 is below minScore 0.8"}


def test_serve_refuses_a_student_that_failed_its_gate_unless_forced(distillery):
    model = Path("runs/conjnli/train-a/model")
    model.mkdir(parents=True)
    evaluation = {"sampleSize": 4, "student": {"score": 0.75}, "gate": FAILED_GATE}
    run = {"name": "conjnli", "state": "Failed", "reason": "QualityGateFailed", "evaluation": evaluation}
    Path("runs/conjnli/result.json").write_text(json.dumps({**run, "files": {"model": "train-a/model"}}))
    result = distillery("serve", "runs/conjnli")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "the student failed the quality gate: score 0.75 is below minScore 0.8; to serve it all the same, run:"
        " distillery serve runs/conjnli --force\n"
    )
    assert "Loading" in distillery("serve", "runs/conjnli", "--force", "--host", "no.such.host.invalid").stdout


def test_a_failed_gate_shows_the_table_and_what_to_change(distillery, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support" / "scripted_trainer"))
    evaluation = {"sampleSize": 4, "student": {"score": 0.75}}
    monkeypatch.setenv("SCRIPT", json.dumps({"evaluate": [{"evaluation": evaluation}]}))
    Path("datasets").mkdir()
    for split in ("train", "validation"):
        Path(f"datasets/{split}.jsonl").write_text("{}\n")
    Path("conjnli.yaml").write_text(MANIFEST + "  evaluation: {gate: {minScore: 0.8}}\n")
    result = distillery("run", "conjnli.yaml", "--claim", "datasets=datasets")
    assert result.exit_code == 4
    assert "Quality gate failed: score 0.75 is below minScore 0.8." in result.stdout
    assert "Serve the student" not in result.stdout
    assert result.stderr == (
        "quality gate: score 0.75 is below minScore 0.8. After changing a bound of evaluation.gate, or what the student"
        " learns from, run the same command again; a changed bound repeats no stage.\n"
    )


def test_command_line_loads_no_heavy_library():
    program = (
        "import sys, distillery_operator.cli;"
        " print(sorted({'torch', 'transformers', 'kopf', 'kubernetes', 'aiohttp'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
