"""The train stage as a process of its own, on a tiny model."""

import hashlib
import json
import shutil
import signal
import subprocess
import time

import pytest
import torch

from chat_templates import CHAT_TEMPLATES
from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.stage_result import RowCounts, StageOutcome, TrainingSettings
from tiny_model import read_model, read_tokenizer, write_tiny_model
from train_evaluate_run import SYSTEM, TrainEvaluateRun, read_rows, training_row, training_rows
from waiting import wait_until


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def finish(run, stage=Stage.TRAIN):
    process = run.start(stage)
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def test_training_leaves_adapter_and_a_merged_model_that_gives_the_same_answers(tiny, tmp_path):
    run = TrainEvaluateRun(tmp_path, tiny, training={"learningRate": 0.01, "epochs": 2, "batchSize": 4})
    code, said = finish(run)

    assert code == 0, said
    result = run.result(Stage.TRAIN)
    assert result.state is StageOutcome.DONE
    attention = {"bfloat16": "sdpa in float32", "float32": "sdpa"}[result.training.precision]
    assert said.count(f"; {result.training.precision} arithmetic, {attention} attention, activations kept.") == 1
    assert result.training.steps == 6
    best = min(result.training.losses, key=lambda epoch: epoch.validation)
    assert len(result.training.losses) == 2
    assert (best.train, best.validation) == (result.training.train_loss, result.training.validation_loss)
    assert result.rows == RowCounts(read=18, kept=18)
    assert sorted(path.name for path in run.folder(Stage.TRAIN).iterdir() if path.is_dir()) == ["adapter", "model"]
    assert adapter_and_merged_model_differ_by(tiny, run.folder(Stage.TRAIN)) < 0.05
    kept = json.loads((run.folder(Stage.TRAIN) / "model" / "generation_config.json").read_text())
    assert kept.get("do_sample", False) is False
    assert kept["eos_token_id"] in (2, [2])
    assert_described(run.folder(Stage.TRAIN) / "model", result.training.model_digest)
    assert_converters_find_what_they_read(run.folder(Stage.TRAIN) / "model")


def assert_described(model, digest):
    card = (model / "README.md").read_text()
    assert "# tiny: a student for NLI" in card
    assert "LoRA rank 8, alpha 128, learning rate 0.01, batch size 4, 2 epochs; 6 steps in " in card
    assert f"```text\n{SYSTEM}\n```" in card
    checked = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=model, capture_output=True, text=True, check=True)
    assert "model.safetensors: OK" in checked.stdout
    assert digest == f"sha256:{hashlib.sha256((model / 'SHA256SUMS').read_bytes()).hexdigest()}"


def assert_converters_find_what_they_read(model):
    """llama.cpp's converter takes chat template and special tokens from the folder as gguf reads them."""
    from gguf import SpecialVocab

    vocabulary = SpecialVocab(model)
    assert vocabulary.chat_template == (model / "chat_template.jinja").read_text()
    assert vocabulary.special_token_ids["eos"] == 2


def adapter_and_merged_model_differ_by(base, folder):
    from peft import PeftModel

    ids = torch.tensor([[1, 4093, 198, 30627, 2, 504]])
    with torch.no_grad():
        merged = read_model(folder / "model")(ids).logits.float()
        adapted = PeftModel.from_pretrained(read_model(base), folder / "adapter").eval()(ids).logits.float()
        untrained = read_model(base)(ids).logits.float()
    assert (untrained - merged).abs().max() > 0.1, "the weights did not change"
    return float((adapted - merged).abs().max())


def test_full_training_changes_every_weight_and_leaves_no_adapter(tiny, tmp_path):
    run = TrainEvaluateRun(tmp_path, tiny, training={"method": "Full", "batchSize": 6, "learningRate": 0.001})
    code, said = finish(run)
    assert code == 0, said
    assert not (run.folder(Stage.TRAIN) / "adapter").exists()
    assert run.result(Stage.TRAIN).training.trainable_parameters == sum(
        weight.numel() for weight in read_model(run.folder(Stage.TRAIN) / "model").parameters()
    )


def test_a_batch_in_parts_trains_the_same_weights(tiny, tmp_path):
    # Answers of different lengths, and a last batch that is not full.
    rows = [training_row(number, "neutral " * (1 + number % 5)) for number in range(11)]
    training = {"learningRate": 0.01, "epochs": 2, "batchSize": 4, "warmupSteps": 0}
    figures = []
    for parts in (1, 4):
        run = TrainEvaluateRun(tmp_path / str(parts), tiny, train=rows, training=training, micro_batches=parts)
        code, said = finish(run)
        assert code == 0, said
        trained = run.result(Stage.TRAIN).training
        figures.append((trained.steps, trained.train_loss, trained.validation_loss))
    assert figures[0][0] == 6
    assert figures[1] == pytest.approx(figures[0], rel=2e-3)


def test_a_training_continues_with_its_batches_in_parts(tiny, tmp_path):
    run = TrainEvaluateRun(tmp_path, tiny, train=training_rows(60), training={"epochs": 8, "batchSize": 4})
    process = run.start(Stage.TRAIN)
    wait_until(lambda: list(run.folder(Stage.TRAIN).glob("checkpoints/checkpoint-*/trainer_state.json")), 120)
    process.kill()
    process.wait()
    run.micro_batches = 2
    code, said = finish(run)
    assert code == 0, said
    assert run.result(Stage.TRAIN).training.steps == 120


def test_untrainable_rows_are_counted_and_stored(tiny, tmp_path):
    rows = [*training_rows(6), training_row(6, text="word " * 300)]
    run = TrainEvaluateRun(tmp_path, tiny, train=rows, training={"batchSize": 6})
    code, said = finish(run)
    assert code == 0, said
    assert run.result(Stage.TRAIN).splits["train"] == RowCounts(
        read=7, kept=6, rejected=1, rejected_by_reason={"too_long": 1}
    )
    (rejected,) = read_rows(run.folder(Stage.TRAIN) / "rejected.jsonl")
    assert (rejected["id"], rejected["reason"]) == ("row-6", "too_long")


def test_killed_stage_resumes_from_its_checkpoint(tiny, tmp_path):
    rows = {"train": training_rows(60), "validation": training_rows(12, 100)}
    run = TrainEvaluateRun(tmp_path, tiny, **rows, training={"epochs": 8, "batchSize": 1})
    process = run.start(Stage.TRAIN)
    wait_until(lambda: list(run.folder(Stage.TRAIN).glob("checkpoints/checkpoint-*/trainer_state.json")), 120)
    process.kill()
    process.wait()
    code, said = finish(run)
    assert code == 0, said
    assert run.result(Stage.TRAIN).training.steps == 480
    trained = run.result(Stage.TRAIN).training
    assert len(trained.losses) == 8
    best = max(trained.losses, key=lambda epoch: (epoch.score, -epoch.validation))
    assert (trained.validation_score, trained.validation_loss) == (best.score, best.validation)
    log = read_rows(run.folder(Stage.TRAIN) / "training-log.jsonl")
    assert [line["step"] for line in log] == list(range(10, 481, 10))
    assert [round(line["validationLoss"], 6) for line in log if "validationLoss" in line] == [
        epoch.validation for epoch in trained.losses
    ]
    assert trained.settings == TrainingSettings(
        method="LoRA", epochs=8, batch_size=1, learning_rate=0.0003, rank=8, alpha=128
    )


def test_stopped_stage_saves_a_checkpoint_and_exits_with_143(tiny, tmp_path):
    run = TrainEvaluateRun(tmp_path, tiny, train=training_rows(60), training={"epochs": 50, "batchSize": 1})
    process = run.start(Stage.TRAIN)
    wait_until(lambda: list(run.folder(Stage.TRAIN).glob("checkpoints/checkpoint-*")), 120)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert run.result(Stage.TRAIN).reason is Reason.TERMINATED
    assert list(run.folder(Stage.TRAIN).glob("checkpoints/checkpoint-*/trainer_state.json"))


@pytest.mark.parametrize(
    ("missing", "named"),
    [("tokenizer.json", "tokenizer"), ("chat_template.jinja", "chat template"), ("config.json", "config")],
)
def test_incomplete_model_folder_is_a_user_error(tiny, tmp_path, missing, named):
    folder = shutil.copytree(tiny, tmp_path / "broken")
    (folder / missing).unlink()
    code, said = finish(TrainEvaluateRun(tmp_path / "run", folder))
    assert code == 2
    assert named in said
    assert str(folder) in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("family", "template", "prompt_text"),
    [
        (
            "Qwen2",
            None,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            "Qwen3",
            "may think",
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nA<|im_end|>\n"
            "<|im_start|>assistant\n<think>\n\n</think>\n\n",
        ),
        ("Mistral", "wants roles to alternate", "<|im_start|>[INST] Be brief.\n\nA [/INST]"),
        ("Phi3", "drops system messages", "<|im_start|>user\nBe brief.\n\nA<|im_end|>\n<|im_start|>assistant\n"),
        (
            "Gemma2",
            "refuses system messages",
            "<|im_start|><repo_name>user\nBe brief.\n\nA<|im_end|>\n<repo_name>model\n",
        ),
        (
            "Gemma3",
            "folds system messages",
            "<|im_start|><repo_name>user\nBe brief.\n\nA<|im_end|>\n<repo_name>model\n",
        ),
    ],
)
def test_family_is_trained_saved_evaluated_and_rendered_by_a_server(family, template, prompt_text, tmp_path):
    base = write_tiny_model(tmp_path / "base", family, CHAT_TEMPLATES.get(template))
    run = TrainEvaluateRun(tmp_path / "run", base, training={"batchSize": 6}, generation={"sampling": {"maxTokens": 4}})
    for stage in (Stage.TRAIN, Stage.EVALUATE):
        code, said = finish(run, stage)
        assert code == 0, said
    model = run.folder(Stage.TRAIN) / "model"
    assert read_model(model).config.model_type == read_model(base).config.model_type
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "A"}]
    server = read_tokenizer(model)
    assert server.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == prompt_text
    length = len(
        server.apply_chat_template(run.test[0]["studentPrompt"], add_generation_prompt=True, return_dict=False)
    )
    for system in ("base", "student"):
        replies = read_rows(run.folder(Stage.EVALUATE) / f"replies-{system}.jsonl")
        assert {reply["prompt_tokens"] for reply in replies if reply["row"] == 0} == {length}


def test_student_for_a_server_of_adapters_is_trained_on_the_base_model_that_is_served(tmp_path):
    base = write_tiny_model(tmp_path / "base", template=CHAT_TEMPLATES["states the date"])
    run = TrainEvaluateRun(
        tmp_path / "run", base, training={"batchSize": 6, "learningRate": 0.01}, base_folder="base-a"
    )
    code, said = finish(run)
    assert code == 0, said
    kept, left = tmp_path / "run" / "base-a", tmp_path / "run" / "adapters" / run.folder(Stage.TRAIN).name
    assert sorted(path.name for path in left.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert (kept / "model.safetensors").read_bytes() == (base / "model.safetensors").read_bytes()
    model = run.folder(Stage.TRAIN) / "model"
    for name in ("chat_template.jinja", "generation_config.json", "tokenizer.json"):
        assert (kept / name).read_bytes() == (model / name).read_bytes(), name
    assert {path.stat().st_mode & 0o777 for path in (*kept.iterdir(), *left.iterdir())} == {0o644}

    shutil.rmtree(base)
    shutil.rmtree(run.folder(Stage.TRAIN))
    code, said = finish(run)
    assert code == 0, f"the kept base model was not used: {said}"
