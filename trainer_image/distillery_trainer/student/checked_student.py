"""What the check of a student finds out for the estimate of the memory: the sizes of the model, and what this machine
has where it is the one that trains. A process with the libraries of models writes it, and one without reads it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from distillery_trainer.student.training_memory import ModelSizes

READS_NO_PICTURES = "It reads no pictures; use a vision-language model."


@dataclass(frozen=True)
class CheckedStudent:
    """A student that can be trained."""

    sizes: ModelSizes | None = None
    """None where they cannot be read from its configuration."""
    positions: int | None = None
    """Its maximum context length, in tokens."""
    number_bytes: int | None = None
    """Bytes of a number in this machine's arithmetic, where it is the one that trains."""
    on_gpu: bool = False
    """Whether this machine trains on a GPU."""
    memory: int | None = None
    """Memory of its GPU, or else of the machine or container, in bytes."""
    pictures_problem: str | None = READS_NO_PICTURES
    """Why its prompts may have no pictures, as a sentence; None if they may."""

    def to_json(self) -> str:
        """It as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> CheckedStudent:
        """It from that line. Raises ValueError, TypeError."""
        fields = json.loads(text)
        sizes = fields.pop("sizes")
        return cls(sizes=ModelSizes(**sizes) if sizes else None, **fields)
