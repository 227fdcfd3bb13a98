"""A student of another family than the others here: vLLM takes its adapter, and gives the text that was measured."""

import json
import os
import subprocess
from itertools import takewhile
from pathlib import Path

import torch

from distillery_api.stage import Stage
from distillery_trainer.evaluation.batched_generation import BatchedGenerator, GenerationRequest
from distillery_trainer.student.device import Device
from distillery_trainer.student.model_folder import open_folder
from distillery_trainer.student.row_encoding import prompt_ids
from families import learn_ten_rows, write_family
from train_evaluate_run import training_rows

PROGRAM = Path(__file__).with_name("answer_with_adapter.py")
TOKENS = 12


def answers_of_vllm(vllm, *arguments):
    """What it writes with the adapter, and as the merged model."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    command = [vllm / "python", PROGRAM, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, env=variables)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_adapter_and_merged_model_of_qwen_3_give_the_text_of_the_evaluation(vllm, tmp_path):
    base = write_family(tmp_path / "base", "Qwen 3", head_dim=64)
    trained = learn_ten_rows(base, tmp_path / "run", 2).folder(Stage.TRAIN)
    student = open_folder(trained / "model", "student")
    ends, model = student.end_of_turn, student.load(torch.float32).eval()
    prompts = [prompt_ids(student, row["prompt"]) for row in training_rows(4) + training_rows(4, 2000)]
    generator = BatchedGenerator(model, Device("cpu", torch.float32, "cpu"), ends, student.tokenizer.pad_token_id)
    measured = dict(generator.generate([GenerationRequest(prompt, TOKENS) for prompt in prompts]))
    for served in answers_of_vllm(vllm, base, trained / "adapter", trained / "model", json.dumps(prompts)):
        assert [list(takewhile(lambda token: token not in ends, ids)) for ids in served] == [
            measured[row].ids for row in range(len(prompts))
        ]
