"""Every family of students, as a tiny model from its own configuration class and with a template in its form: from the
chat template to the trained, merged and served student."""

from dataclasses import dataclass, replace
from datetime import date
from itertools import takewhile
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file
from starlette.testclient import TestClient
from transformers import AutoModelForCausalLM

from distillery_api.spec import TrainingMethod
from distillery_api.stage import Stage
from distillery_trainer.evaluation.batched_generation import BatchedGenerator, GenerationRequest
from distillery_trainer.evaluation.exact_batches import exact_up_to
from distillery_trainer.serving.application import StudentApi
from distillery_trainer.serving.served_model import ServedModel
from distillery_trainer.student.adapted_layers import adapted_layers
from distillery_trainer.student.chat_template import Rendering
from distillery_trainer.student.device import Device
from distillery_trainer.student.lora import lora_adapters
from distillery_trainer.student.model_folder import ModelFolder, open_folder
from distillery_trainer.student.row_encoding import EncodedRow, RowEncoder, prompt_ids
from families import FAMILIES, IMAGES, learn_ten_rows, write_family
from train_evaluate_run import TrainEvaluateRun, training_rows

RENDERING = Rendering(thinking=False, today=date(2026, 11, 9))
CPU = Device("cpu", torch.float32, "cpu")
TOKENS = 24
NEVER = 10**6
PROMPT = [{"role": "system", "content": "Say a label."}, {"role": "user", "content": "A cat sits."}]
ANSWER = [{"role": "assistant", "content": "neutral"}]


@pytest.fixture(scope="module", params=FAMILIES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def family(name):
    return FAMILIES[name]


@pytest.fixture(scope="module")
def base(name, tmp_path_factory):
    """The base model's folder, with the template that its student is trained with."""
    return open_folder(write_family(tmp_path_factory.mktemp("family") / "base", name), "base", RENDERING.template)


def encoded(base, prompt):
    row = RowEncoder(base, 256).encode({"prompt": prompt, "completion": ANSWER})
    assert isinstance(row, EncodedRow), row
    return row


def test_prompt_is_that_of_the_family_without_thinking_and_with_one_bos(base, family):
    ids = prompt_ids(base, PROMPT)
    assert base.tokenizer.decode(ids) == family.prompt
    if family.bos and family.prompt.startswith(family.bos):
        assert ids[:2].count(base.tokenizer.bos_token_id) == 1


def test_adapters_are_on_the_linear_layers_of_the_text_alone(base, family):
    model = base.load(torch.float32)
    layers = adapted_layers(model)
    assert {layer.rpartition(".")[2] for layer in layers} == set(family.adapted)
    assert not [layer for layer in layers if "vision" in layer or "expert" in layer or "router" in layer]
    adapted = get_peft_model(model, lora_adapters(TrainingMethod.LORA, 4, 8, 0.0, layers))
    trained = {weight for weight, value in adapted.named_parameters() if value.requires_grad}
    assert trained == {f"base_model.model.{layer}.lora_{side}.default.weight" for layer in layers for side in "AB"}


@dataclass(frozen=True)
class Trained:
    """A base model and its student."""

    base: ModelFolder
    run: TrainEvaluateRun
    reader: ModelFolder
    """The student's folder."""
    student: Any
    """The merged student, as transformers loads it by itself."""

    @property
    def folder(self):
        return self.run.folder(Stage.TRAIN)

    @property
    def prompts(self):
        """Of the rows that were learnt, then of others; all begin alike."""
        return [prompt_ids(self.reader, row["prompt"]) for row in training_rows(10) + training_rows(2, 2000)]


@pytest.fixture(scope="module")
def trained(base, family, tmp_path_factory):
    """The student of ten rows that share all but a few words, by the train stage."""
    run = learn_ten_rows(base.path, tmp_path_factory.mktemp("run"), family.epochs)
    folder = run.folder(Stage.TRAIN) / "model"
    student = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return Trained(base, run, open_folder(folder, "student"), student)


def by_the_library(model, prompt, ends, tokens=TOKENS):
    """What `generate` of transformers writes after one prompt, without the token that ends it."""
    ids = torch.tensor([prompt])
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, eos_token_id=list(ends)
    )
    return list(takewhile(lambda token: token not in ends, output[0, len(prompt) :].tolist()))


def in_batches(trained, prompts, tokens=TOKENS):
    reader = trained.reader
    generator = BatchedGenerator(trained.student, CPU, reader.end_of_turn, reader.tokenizer.pad_token_id)
    replies = dict(generator.generate([GenerationRequest(prompt, tokens) for prompt in prompts]))
    return [replies[row].ids for row in range(len(prompts))]


def test_ten_rows_are_learnt_and_each_answer_ends(trained):
    replies = in_batches(trained, trained.prompts[:10])
    answers = [row["completion"][0]["content"] for row in training_rows(10)]
    assert [trained.reader.tokenizer.decode(ids).strip() for ids in replies] == answers
    assert trained.reader.end_of_turn == trained.base.end_of_turn


def test_adapter_merged_model_and_batches_give_the_text_of_generate(trained):
    ends = trained.reader.end_of_turn
    adapted = PeftModel.from_pretrained(trained.base.load(torch.float32), trained.folder / "adapter").eval()
    merged = [by_the_library(trained.student, prompt, ends) for prompt in trained.prompts]
    assert in_batches(trained, trained.prompts) == merged
    assert [by_the_library(adapted, prompt, ends) for prompt in trained.prompts[9:]] == merged[9:]


def test_only_prompts_of_one_length_are_batched_where_others_would_change_an_answer(base, family):
    assert exact_up_to(base.load(torch.float32)) == family.exact_up_to


def test_batches_give_the_text_of_generate_beyond_windows_and_the_positions_of_the_training(trained):
    """The answers go on: none of the tokens that they have ends them."""
    beginning = trained.prompts[0][:20]
    texts = ([beginning[0], *range(60, end)] for end in (70, 82, 90, 104, 128, 190))
    prompts = [beginning + text for text in texts]
    replies = in_batches(replace(trained, reader=replace(trained.reader, end_of_turn=(NEVER,))), prompts)
    assert replies == [by_the_library(trained.student, prompt, (NEVER,)) for prompt in prompts]


def test_base_and_student_have_tied_embeddings_or_neither(trained, family):
    student = trained.student
    embeddings, output = student.get_input_embeddings().weight, student.get_output_embeddings().weight
    assert (embeddings.data_ptr() == output.data_ptr()) is family.tied
    assert torch.equal(embeddings, trained.base.load(torch.float32).get_input_embeddings().weight)
    names = [name for file in (trained.folder / "model").glob("*.safetensors") for name in load_file(file)]
    assert any("lm_head" in name for name in names) is not family.tied


def test_how_images_are_read_is_kept(trained, family):
    kept = trained.folder / "model" / IMAGES
    assert kept.exists() is (family.text_fields is not None)
    assert trained.student.config.model_type == trained.base.config.model_type


def test_padding_has_an_embedding(trained):
    size = trained.student.get_input_embeddings().weight.shape[0]
    assert 0 <= trained.reader.tokenizer.pad_token_id < size


@pytest.mark.parametrize("messages", [PROMPT, PROMPT[1:]], ids=["system", "no system"])
def test_server_gives_the_text_of_generate(trained, messages):
    path = trained.folder / "model"
    application = StudentApi(ServedModel.load(path, ("student",), "float32", CPU)).application()
    with TestClient(application) as client:
        body = {"model": "student", "messages": messages, "max_tokens": 8}
        reply = client.post("/v1/chat/completions", json=body).json()
    ids = by_the_library(trained.student, prompt_ids(trained.reader, messages), trained.reader.end_of_turn, 8)
    tokenizer = trained.reader.tokenizer
    assert reply["choices"][0]["message"]["content"] == tokenizer.decode(ids, skip_special_tokens=True)
    assert reply["usage"]["prompt_tokens"] == len(prompt_ids(trained.base, messages))


def test_adapters_of_a_plain_model_have_the_names_that_they_always_had(tmp_path):
    from peft import LoraConfig

    folder = write_family(tmp_path / "plain", "Llama 3.2", num_hidden_layers=4)
    model = open_folder(folder, "plain").load(torch.float32)
    ours = get_peft_model(model, lora_adapters(TrainingMethod.LORA, 4, 8, 0.0, adapted_layers(model))).peft_config[
        "default"
    ]
    model = open_folder(folder, "plain").load(torch.float32)
    before = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    theirs = get_peft_model(model, before).peft_config["default"]
    assert ours.target_modules == theirs.target_modules
    assert ours.target_modules == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_dynamic_positions_begin_anew_with_each_text(tmp_path):
    dynamic = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}
    folder = write_family(tmp_path / "dynamic", "SmolLM 2", max_position_embeddings=64, rope_parameters=dynamic)
    base = open_folder(folder, "dynamic")
    prompts = [list(range(30, end)) for end in (150, 90, 60, 90)]
    generator = BatchedGenerator(base.load(torch.float32).eval(), CPU, (NEVER,), 0)
    replies = dict(generator.generate([GenerationRequest(prompt, 8) for prompt in prompts]))
    alone = [by_the_library(base.load(torch.float32).eval(), prompt, (NEVER,), 8) for prompt in prompts]
    assert [replies[row].ids for row in range(4)] == alone
