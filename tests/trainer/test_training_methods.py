"""Each method trains what it says, and its adapters are merged into the model as they were trained on it."""

import math

import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file

from distillery_api.reasons import Reason
from distillery_api.spec import Training, TrainingMethod
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.student.adapted_layers import adapted_layers
from distillery_trainer.student.chosen_settings import chosen_settings
from distillery_trainer.student.device import Device
from distillery_trainer.student.lora import lora_adapters, merged
from distillery_trainer.student.model_folder import open_folder
from distillery_trainer.student.quantisation import four_bits
from distillery_trainer.student.trained_weights import load_to_train
from tiny_model import write_tiny_model

ADAPTED = [method for method in TrainingMethod if method.trains_adapters]
LAYER = "model.layers.0.self_attn.q_proj"
IDS = torch.tensor([[1, 4093, 198, 30627, 2, 504]])
CPU = Device("cpu", torch.float32, "CPU")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return open_folder(write_tiny_model(tmp_path_factory.mktemp("tiny") / "model"), "tiny")


def trained(base, method, folder, rank=4, alpha=8):
    """A model with adapters after five steps of a training that changes it much, and the folder of its adapter."""
    torch.manual_seed(1)
    quantised = four_bits(torch.float32) if method is TrainingMethod.QLORA else None
    model = base.load(torch.float32, quantisation=quantised)
    model = get_peft_model(model, lora_adapters(method, rank, alpha, 0.0, adapted_layers(model)))
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=0.02)
    for _ in range(5):
        model(IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("method", [method for method in ADAPTED if method is not TrainingMethod.QLORA])
def test_merged_model_answers_as_the_model_with_its_adapters(base, method, tmp_path):
    model = trained(base, method, tmp_path)
    with torch.no_grad():
        with_adapters, merged_logits = model(IDS).logits, merged(base, tmp_path)(IDS).logits
        untrained = base.load(torch.float32)(IDS).logits
    assert (untrained - with_adapters).abs().max() > 0.1
    assert (merged_logits - with_adapters).abs().max() < 1e-4


def weight_of(model, layer=LAYER):
    return model.get_submodule(layer).weight.detach()


@pytest.mark.parametrize(
    ("method", "scale"), [(TrainingMethod.LORA, 8 / 4), (TrainingMethod.RS_LORA, 8 / math.sqrt(4))]
)
def test_adapter_is_scaled_as_its_paper_says(base, method, scale, tmp_path):
    trained(base, method, tmp_path)
    adapter = load_file(tmp_path / "adapter_model.safetensors")
    up, down = (adapter[f"base_model.model.{LAYER}.lora_{part}.weight"] for part in "BA")
    expected = weight_of(base.load("auto")) + scale * up @ down
    torch.testing.assert_close(weight_of(merged(base, tmp_path)), expected, rtol=0, atol=1e-6)


def test_merged_weights_of_dora_have_the_trained_magnitudes(base, tmp_path):
    trained(base, TrainingMethod.DORA, tmp_path)
    adapter = load_file(tmp_path / "adapter_model.safetensors")
    magnitudes = adapter[f"base_model.model.{LAYER}.lora_magnitude_vector"]
    before, after = weight_of(base.load("auto")), weight_of(merged(base, tmp_path))
    torch.testing.assert_close(after.norm(dim=1), magnitudes, rtol=1e-5, atol=1e-6)
    assert (after.norm(dim=1) - before.norm(dim=1)).abs().max() > 1e-3


def test_adapters_of_a_quantised_model_are_merged_into_the_model_in_its_own_precision(base, tmp_path):
    pytest.importorskip("bitsandbytes")
    model = trained(base, TrainingMethod.QLORA, tmp_path)
    assert model.get_base_model().get_submodule(LAYER).base_layer.weight.dtype is torch.uint8
    assert model.get_base_model().lm_head.weight.dtype is torch.float32
    adapter = load_file(tmp_path / "adapter_model.safetensors")
    up, down = (adapter[f"base_model.model.{LAYER}.lora_{part}.weight"].float() for part in "BA")
    result = merged(base, tmp_path)
    torch.testing.assert_close(weight_of(result), weight_of(base.load("auto")) + 2.0 * up @ down, rtol=0, atol=1e-6)
    assert getattr(result, "is_loaded_in_4bit", False) is False
    assert {weight.dtype for weight in result.parameters()} == {torch.float32}


def test_qlora_without_a_gpu_is_refused_in_one_sentence(base):
    with pytest.raises(UserError) as refused:
        load_to_train(base, TrainingMethod.QLORA, CPU)
    assert refused.value.reason is Reason.INVALID_SPEC
    assert refused.value.message == (
        "training.method: QLoRA needs a GPU, and this machine has none that torch can use; set training.method to LoRA,"
        " or run on a GPU."
    )


@pytest.mark.parametrize(
    ("fields", "rank", "alpha"),
    [
        ({"method": "LoRA"}, 16, 32),
        ({"method": "DoRA"}, 16, 32),
        ({"method": "QLoRA", "lora": {"rank": 64}}, 64, 128),
        ({"method": "rsLoRA"}, 16, 8),
        ({"method": "rsLoRA", "lora": {"rank": 256}}, 256, 8),
        ({"method": "rsLoRA", "lora": {"rank": 256, "alpha": 16}}, 256, 16),
        ({"method": "Full", "lora": {"rank": 256}}, None, None),
    ],
)
def test_rank_and_alpha_suit_the_method(fields, rank, alpha):
    chosen = chosen_settings(Training(**fields), 100, 135_000_000)
    assert (chosen.rank, chosen.alpha, chosen.method) == (rank, alpha, fields["method"])
    assert chosen.learning_rate == (0.0001 if rank is None else 0.001)


def test_sentence_of_the_settings_names_the_method():
    assert chosen_settings(Training(method="rsLoRA", epochs=1), 100, 135_000_000).sentence() == (
        "rsLoRA rank 16, alpha 8, learning rate 0.001, batch size 4, 1 epoch"
    )
