"""The train stage on a GPU: precision, methods, merging, a kill, and too little memory."""

import time

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from distillery_api.stage import Stage
from gpu_stage import finish_on_gpu, start_on_gpu
from train_evaluate_run import TrainEvaluateRun, training_row, training_rows
from waiting import wait_until

TRAINING = {"preset": "Auto", "epochs": 3, "batchSize": 8}


def run_of(folder, student, **changes):
    return TrainEvaluateRun(
        folder, student, train=training_rows(48), validation=training_rows(12, 100), training={**TRAINING, **changes}
    )


@pytest.mark.parametrize("method", ["LoRA", "rsLoRA", "DoRA", "QLoRA", "Full"])
def test_every_method_learns_in_bfloat16(method, student, tmp_path):
    result = finish_on_gpu(run_of(tmp_path, student, method=method), Stage.TRAIN)
    assert (result.training.device, result.training.precision) == ("cuda", "bfloat16")
    losses = [epoch.train for epoch in result.training.losses]
    assert losses[-1] < losses[0] / 2


def test_adapter_and_merged_model_give_the_same(student, tmp_path):
    run = run_of(tmp_path, student)
    finish_on_gpu(run, Stage.TRAIN)
    ids = torch.tensor([[1, 4093, 198, 30627, 2, 504]], device="cuda")
    with torch.no_grad():
        merged = loaded(run.folder(Stage.TRAIN) / "model")(ids).logits
        adapted = PeftModel.from_pretrained(loaded(student), run.folder(Stage.TRAIN) / "adapter").eval()(ids).logits
        untrained = loaded(student)(ids).logits
    assert (merged - adapted).abs().max() < 0.05 < (merged - untrained).abs().max()


def loaded(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, device_map="cuda").eval()


def test_a_killed_training_resumes_and_ends_with_the_loss_of_one_never_killed(student, tmp_path):
    whole = finish_on_gpu(run_of(tmp_path / "whole", student), Stage.TRAIN).training
    run = run_of(tmp_path / "killed", student)
    process = start_on_gpu(run, Stage.TRAIN)
    wait_until(lambda: list(run.folder(Stage.TRAIN).glob("checkpoints/checkpoint-*/complete.json")), seconds=120)
    time.sleep(0.1)
    process.kill()
    process.communicate()
    resumed = finish_on_gpu(run, Stage.TRAIN).training
    assert resumed.steps == whole.steps
    assert resumed.validation_loss == pytest.approx(whole.validation_loss, abs=1e-2)


def test_evaluation_answers_on_the_gpu(student, tmp_path):
    run = run_of(tmp_path, student)
    finish_on_gpu(run, Stage.TRAIN)
    evaluation = finish_on_gpu(run, Stage.EVALUATE).evaluation
    assert evaluation.device.startswith("NVIDIA")
    assert evaluation.student.score > evaluation.base.score


def test_a_batch_that_does_not_fit_is_processed_in_parts(student, tmp_path):
    long = [training_row(number, text=f"Premise {number}. " + "It rains. " * 60) for number in range(64)]
    training = {"preset": "Auto", "epochs": 1, "batchSize": 64, "maxLength": 1024}
    run = TrainEvaluateRun(tmp_path, student, train=long, validation=training_rows(12, 100), training=training)
    three_gigabytes = 3e9 / torch.cuda.get_device_properties(0).total_memory
    assert finish_on_gpu(run, Stage.TRAIN, three_gigabytes).training.steps == 1
