"""A training that cannot fit into its memory is refused before the teacher is paid; one that may fit is estimated."""

import pytest

from distillery_api.run_config import RunConfig
from distillery_trainer.generation.memory_check import RowLengths, expected_memory, refuse_what_cannot_fit
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.stages.memory import run as memory_of_plan
from distillery_trainer.student.check import check
from distillery_trainer.student.checked_student import CheckedStudent
from eight_billion import EIGHT_BILLION
from generate_run import GenerateRun, gold_of, nli_rows
from teacher_server import gold_teacher
from tiny_model import write_tiny_model

ROWS = {"train": nli_rows(12), "validation": nli_rows(6, 100), "test": None}
GB = 1_000_000_000
STUDENT = CheckedStudent(EIGHT_BILLION, positions=131_072)
LENGTHS = RowLengths(count=300, longest=600, answer=40)


def config(folder, machine, **training):
    run = GenerateRun(folder, "http://127.0.0.1:1", **ROWS, config={"training": training, "trainingMachine": machine})
    return RunConfig.read(run.config_file)


def gpu(gigabytes):
    return {"gpus": 1, "gpuMemory": gigabytes * GB}


@pytest.mark.parametrize(
    ("method", "machine", "fits"),
    [
        ("LoRA", gpu(24), True),
        ("LoRA", gpu(16), False),
        ("QLoRA", gpu(16), True),
        ("QLoRA", gpu(6), False),
        ("Full", gpu(141), True),
        ("Full", gpu(80), False),
        ("Full", {"gpus": 2, "gpuMemory": 80 * GB}, False),  # each holds all weights
        ("Full", {"gpus": 2, "gpuMemory": 141 * GB}, True),
        ("LoRA", {"memory": 32 * GB}, False),  # float32 on a CPU
        ("LoRA", {"memory": 64 * GB}, True),
        ("Full", {"gpus": 1}, True),  # nobody knows how large
        ("Full", None, True),
    ],
)
def test_only_what_certainly_cannot_fit_is_refused(method, machine, fits, tmp_path):
    given = config(tmp_path, machine, method=method)
    if fits:
        refuse_what_cannot_fit(given, STUDENT, LENGTHS)
        return
    with pytest.raises(UserError) as refused:
        refuse_what_cannot_fit(given, STUDENT, LENGTHS)
    assert refused.value.reason == "InvalidSpec"


@pytest.mark.parametrize(
    ("training", "gigabytes", "optimizer"),
    [
        ({"method": "Full", "gpusPerNode": 4}, 141, 64_242_089_984),  # fits as a whole
        ({"method": "Full", "gpusPerNode": 4}, 80, 16_060_522_496),
        ({"method": "Full", "gpusPerNode": 4, "nodes": 2}, 40, 8_030_261_248),
        ({"method": "LoRA", "gpusPerNode": 4}, 80, 335_544_320),
    ],
)
def test_what_does_not_fit_into_one_gpu_is_divided_over_all(training, gigabytes, optimizer, tmp_path):
    given = config(tmp_path, gpu(gigabytes), **training)
    refuse_what_cannot_fit(given, STUDENT, LENGTHS)
    memory = expected_memory(given, STUDENT, LENGTHS)
    assert memory.optimizer == optimizer
    assert memory.total < gigabytes * GB


@pytest.mark.parametrize("training", [{"method": "Full", "gpusPerNode": 2}, {"method": "QLoRA", "gpusPerNode": 8}])
def test_what_does_not_fit_divided_either_is_refused(training, tmp_path):
    with pytest.raises(UserError):
        refuse_what_cannot_fit(config(tmp_path, gpu(5), **training), STUDENT, LENGTHS)


@pytest.mark.parametrize(
    ("objective", "sequences"),
    [
        ({}, 4),
        ({"samples": "Weighted"}, 4),
        ({"samples": "Soft"}, 12),
        ({"rationales": "Auxiliary"}, 8),
        ({"samples": "Soft", "rationales": "Auxiliary"}, 16),
    ],
)
def test_all_sequences_of_a_row_are_in_memory_together(objective, sequences, tmp_path):
    given = config(tmp_path, gpu(80), objective=objective)
    samples = given.generation.model_copy(update={"samples": 3})
    given = given.model_copy(update={"generation": samples})
    assert expected_memory(given, STUDENT, LENGTHS).sequences == sequences


@pytest.mark.parametrize(
    ("method", "gigabytes", "remedy"),
    [
        ("Full", 80, "set training.method to LoRA, use a smaller student.model"),
        ("Full", 12, "set training.method to QLoRA, use a smaller student.model"),
        ("LoRA", 12, "set training.method to QLoRA, use a smaller student.model"),
        ("LoRA", 4, "for the libraries; use a smaller student.model"),
    ],
)
def test_refusal_names_a_method_that_fits(method, gigabytes, remedy, tmp_path):
    with pytest.raises(UserError) as refused:
        refuse_what_cannot_fit(config(tmp_path, gpu(gigabytes), method=method), STUDENT, LENGTHS)
    assert refused.value.message.startswith(
        f"training.method: {method} of this student (8,030 million parameters) takes at least about"
    )
    assert remedy in refused.value.message


def test_estimate_is_for_a_batch_of_the_longest_rows(tmp_path):
    memory = expected_memory(config(tmp_path, gpu(80), method="LoRA"), STUDENT, LENGTHS)
    assert (memory.sequences, memory.length, memory.available) == (4, 600, 80 * GB)
    assert memory.total < 80 * GB


def test_rows_beyond_the_maximum_length_are_not_reckoned_with(tmp_path):
    given = config(tmp_path, None, maxLength=256)
    assert expected_memory(given, STUDENT, LENGTHS).length == 256


def test_activations_are_kept_only_where_there_is_room(tmp_path):
    roomy, tight = (
        expected_memory(config(tmp_path, gpu(size), batchSize=8), STUDENT, LENGTHS).activations for size in (141, 40)
    )
    assert tight < roomy / 10


def stage(folder, machine):
    write_tiny_model(folder / "small")
    with gold_teacher(gold_of(ROWS["train"], ROWS["validation"])) as teacher:
        settings = {"student": {"model": {"uri": "small"}}, "trainingMachine": machine}
        run = GenerateRun(folder, teacher.url, **ROWS, config=settings)
        said = run.start().communicate(timeout=300)[1]
    return run.result, said, len(teacher.requests)


def test_run_that_cannot_fit_pays_for_nothing(tmp_path):
    result, said, requests = stage(tmp_path, {"memory": GB // 2})
    assert (result.exit_code, result.reason, requests) == (2, "InvalidSpec", 0), said
    assert result.message.startswith(
        "training.method: LoRA of this student (3 million parameters) takes at least about"
    )


def test_estimate_is_in_the_result(tmp_path):
    result, said, requests = stage(tmp_path, {"isThisOne": True})
    assert (result.exit_code, requests) == (0, 18), said
    memory = result.estimate.training_memory
    assert 13_000_000 < memory.total < 100_000_000
    assert memory.available > GB
    assert f"The training will need {memory.sentence()}." in said


def test_memory_of_a_plan_is_that_of_its_rows_or_of_the_longest_allowed(tmp_path):
    write_tiny_model(tmp_path / "small")
    settings = {"student": {"model": {"uri": "small"}}, "trainingMachine": {"memory": 32 * GB}}
    run = GenerateRun(tmp_path, "http://127.0.0.1:1", **ROWS, config={**settings, "training": {"maxLength": 256}})
    given = RunConfig.read(run.config_file)
    of_rows, longest = memory_of_plan(given, reads_rows=True), memory_of_plan(given, reads_rows=False)
    assert (of_rows.sequences, longest.sequences, longest.length) == (2, 16, 256)
    assert 40 < of_rows.length < 256
    assert of_rows.total < longest.total


def test_more_gpus_than_this_machine_has_are_refused_before_the_teacher_is_paid(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(UserError, match=r"^training\.gpusPerNode is 64, and this machine has "):
        check(config(tmp_path, {"isThisOne": True}, gpusPerNode=64))


def test_qlora_on_a_machine_without_a_gpu_is_refused_by_the_check(tmp_path):
    with pytest.raises(UserError) as refused:
        check(config(tmp_path, {"isThisOne": True}, method="QLoRA"))
    assert refused.value.message.startswith("training.method: QLoRA needs a GPU, and this machine has none")
