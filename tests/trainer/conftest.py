"""What several tests of the trainer ask for."""

import pytest
import torch


@pytest.fixture(scope="module")
def one_thread():
    """Threads of a model this small only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
