"""Every family of students, as a tiny model from its own configuration class and with a template in its form: from the
chat template to the trained, merged and served student."""

from datetime import date

import pytest
import torch
from peft import get_peft_model

from distillery_trainer.student.adapted_layers import adapted_layers
from distillery_trainer.student.chat_template import Rendering
from distillery_trainer.student.lora import lora_adapters
from distillery_trainer.student.model_folder import open_folder
from distillery_trainer.student.row_encoding import EncodedRow, RowEncoder, prompt_ids
from families import FAMILIES, write_family

RENDERING = Rendering(thinking=False, today=date(2026, 11, 9))
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
    adapted = get_peft_model(model, lora_adapters(4, 8, 0.0, layers))
    trained = {weight for weight, value in adapted.named_parameters() if value.requires_grad}
    assert trained == {f"base_model.model.{layer}.lora_{side}.default.weight" for layer in layers for side in "AB"}


def test_adapters_of_a_plain_model_have_the_names_that_they_always_had(tmp_path):
    from peft import LoraConfig

    folder = write_family(tmp_path / "plain", "Llama 3.2", num_hidden_layers=4)
    model = open_folder(folder, "plain").load(torch.float32)
    ours = get_peft_model(model, lora_adapters(4, 8, 0.0, adapted_layers(model))).peft_config["default"]
    model = open_folder(folder, "plain").load(torch.float32)
    before = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    theirs = get_peft_model(model, before).peft_config["default"]
    assert ours.target_modules == theirs.target_modules
    assert ours.target_modules == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
