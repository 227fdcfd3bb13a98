"""The host holds a model once, never twice: when it is loaded, and when an adapter is merged into it and saved."""

import subprocess
import sys

import pytest
import torch

from tiny_model import write_tiny_model

PROGRAM = """
import gc, re, sys
from pathlib import Path
import torch
from peft import get_peft_model
from distillery_api.spec import TrainingMethod
from distillery_trainer.student.adapted_layers import adapted_layers
from distillery_trainer.student.device import Device
from distillery_trainer.student.lora import lora_adapters, merged
from distillery_trainer.student.model_folder import open_folder
from distillery_trainer.student.saving import save_student
from distillery_trainer.student.trained_weights import load_to_train

def kilobytes(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

def peak(action):
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is measured anew
    before = kilobytes("VmRSS")
    kept = action()
    return kept, (kilobytes("VmHWM") - before) * 1024

small, large, folder = (Path(each) for each in sys.argv[1:])
cpu = Device("cpu", torch.bfloat16, "CPU")
open_folder(small, "small").load("auto")  # what the libraries load at the first model
base = open_folder(large, "large")
_, full = peak(lambda: load_to_train(base, TrainingMethod.FULL, cpu))
model = base.load("auto")
model = get_peft_model(model, lora_adapters(TrainingMethod.LORA, 8, 16, 0.0, adapted_layers(model)))
model.save_pretrained(folder / "adapter")
del model
_, saved = peak(lambda: save_student(merged(base, folder / "adapter"), base, folder / "model"))
print(full, saved)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_model_is_in_memory_once(tmp_path):
    small = write_tiny_model(tmp_path / "small", vocab_size=512)
    sizes = {"hidden_size": 768, "intermediate_size": 2304, "num_hidden_layers": 8, "num_attention_heads": 12}
    large = write_tiny_model(tmp_path / "large", vocab_size=512, num_key_value_heads=6, dtype=torch.bfloat16, **sizes)
    in_16_bits = (large / "model.safetensors").stat().st_size
    assert in_16_bits > 100_000_000
    program = [sys.executable, "-c", PROGRAM, str(small), str(large), str(tmp_path)]
    full, saved = map(int, subprocess.check_output(program, text=True, stderr=subprocess.DEVNULL).split())
    # The pages of the file are the system's cache, which takes them back when it wants to; the rest is ours.
    in_32_bits, file_pages = 2 * in_16_bits, in_16_bits
    assert full < 1.3 * in_32_bits + file_pages
    assert saved < 1.8 * in_16_bits + file_pages
