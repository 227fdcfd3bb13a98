"""The memory that a training needs, and what the machine that trains has of it."""

from __future__ import annotations

from distillery_api.base import LenientModel

_GIGABYTE = 1e9


class TrainingMachine(LenientModel):
    """What the train stage has, as far as it is known before it runs."""

    is_this_one: bool = False
    """Whether it is the machine that reads this, as in a local run; it knows itself, and the other fields are empty."""
    gpus: int = 0
    """Number of GPUs."""
    gpu_memory: int | None = None
    """Memory of one of them, in bytes; None if unknown."""
    memory: int | None = None
    """Memory limit of the container, in bytes; None for none."""

    @property
    def training_memory(self) -> int | None:
        """Bytes in which one process of the training has to fit; None if unknown. Each process has one GPU, which holds
        the whole model or, where that does not fit, its part."""
        return self.gpu_memory if self.gpus else self.memory


THIS_MACHINE = TrainingMachine(is_this_one=True)


class TrainingMemory(LenientModel):
    """Memory that the training is expected to take at its peak, in bytes, on the GPU or else in the container."""

    weights: int
    """The weights of the model and of the adapters."""
    gradients: int
    """A gradient for each trained weight."""
    optimizer: int
    """The state of AdamW: two figures for each trained weight."""
    activations: int
    """What is kept of each layer for the backward pass."""
    logits: int
    """The output layer's figures for the answers' tokens, with their gradients."""
    total: int
    """At the peak. Not all parts are there at the same time."""
    sequences: int
    """Rows in memory at a time."""
    length: int
    """Tokens of the longest row that was reckoned with."""
    available: int | None = None
    """Memory that the training has; absent if unknown."""

    def sentence(self) -> str:
        """The figures for people, such as `about 19.2 GB (weights 16.1, …)`."""
        rows = "row" if self.sequences == 1 else "rows"
        of = f" of {gigabytes(self.available)}" if self.available is not None else ""
        return (
            f"about {gigabytes(self.total)}{of} (weights {_figure(self.weights)}, gradients {_figure(self.gradients)},"
            f" optimiser {_figure(self.optimizer)}, activations {_figure(self.activations)}, logits"
            f" {_figure(self.logits)}) for {self.sequences:,} {rows} of {self.length:,} tokens at a time"
        )


def gigabytes(size: float) -> str:
    """A size for people, such as `19.2 GB`."""
    return f"{_figure(size)} GB"


def _figure(size: float) -> str:
    return f"{size / _GIGABYTE:,.1f}" if size >= _GIGABYTE / 10 or not size else f"{size / _GIGABYTE:,.3f}"
