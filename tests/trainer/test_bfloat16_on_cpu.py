"""Training in bfloat16 on a CPU: what is computed in 32 bits, and what is not copied."""

import pytest
import torch
from peft import get_peft_model

from distillery_api.spec import TrainingMethod
from distillery_trainer.student.adapted_layers import adapted_layers
from distillery_trainer.student.cpu_attention import NAME
from distillery_trainer.student.device import Device
from distillery_trainer.student.lora import lora_adapters, share_inputs
from distillery_trainer.student.model_folder import open_folder
from distillery_trainer.student.trained_weights import load_to_train
from tiny_model import write_tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")
IDS = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
BFLOAT16 = Device("cpu", torch.bfloat16, "CPU")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return open_folder(write_tiny_model(tmp_path_factory.mktemp("tiny") / "model"), "tiny")


def logits(model) -> torch.Tensor:
    return model(input_ids=IDS, attention_mask=MASK).logits[MASK == 1].float()


def test_attention_in_32_bits_gives_what_the_library_gives(tiny):
    ours, plain = load_to_train(tiny, TrainingMethod.LORA, BFLOAT16), tiny.load(torch.bfloat16, "cpu")
    exact = logits(tiny.load(torch.float32, "cpu"))
    assert ours.config._attn_implementation == NAME
    assert (logits(ours) - exact).norm() < 1.1 * (logits(plain) - exact).norm()


def test_attention_in_32_bits_is_the_librarys_where_all_is(tiny):
    model = load_to_train(tiny, TrainingMethod.LORA, Device("cpu", torch.float32, "CPU"))
    assert model.config._attn_implementation == "sdpa"


def test_adapters_that_share_inputs_have_the_same_gradients(tiny):
    gradients = []
    for shares in (False, True):
        torch.manual_seed(1)
        model = load_to_train(tiny, TrainingMethod.LORA, BFLOAT16)
        model = get_peft_model(model, lora_adapters(TrainingMethod.LORA, 4, 8, 0.0, adapted_layers(model)))
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.1)
        if shares:
            share_inputs(model)
        with torch.autocast("cpu", torch.bfloat16):
            logits(model).square().sum().backward()
        gradients.append([weight.grad for weight in model.parameters() if weight.requires_grad])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
