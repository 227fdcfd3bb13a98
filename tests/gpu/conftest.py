"""What only a GPU can show, with the small real student."""

from pathlib import Path

import pytest
import torch

from small_student import small_student


@pytest.fixture(scope="session", autouse=True)
def gpu() -> str:
    """The name of the GPU. Without one these tests fail: nothing else asks for them."""
    if not torch.cuda.is_available():
        pytest.fail("these tests need a GPU that PyTorch can use")
    return torch.cuda.get_device_name()


@pytest.fixture(scope="session")
def student() -> Path:
    """The folder of the student to train."""
    return small_student()
