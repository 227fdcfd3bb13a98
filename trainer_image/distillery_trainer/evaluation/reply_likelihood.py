"""How likely a model finds what somebody else has said."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from distillery_trainer.data.records import Message
from distillery_trainer.student.model_folder import ModelFolder
from distillery_trainer.student.row_encoding import IGNORED, EncodedRow, RowEncoder

_NO_LIMIT = 2**31


class ReplyLikelihood:
    """A loaded model, asked how likely it would have given certain replies."""

    def __init__(self, folder: ModelFolder, model: PreTrainedModel) -> None:
        self._model = model
        self._encoder = RowEncoder(folder, folder.positions or _NO_LIMIT)

    def at(self, prompt: list[Message], reply: str) -> tuple[float, int]:
        """The sum of the negative log-likelihoods (nats) of a reply's tokens, the end of the turn among them, and
        their number. (0, 0) for a reply that cannot be written in the model's chat format, or is too long for it."""
        row = self._encoder.encode({"prompt": prompt, "completion": [{"role": "assistant", "content": reply}]})
        return self._loss(row) if isinstance(row, EncodedRow) else (0.0, 0)

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch is not typed for us
    def _loss(self, row: EncodedRow) -> tuple[float, int]:
        reply: Sequence[int] = [label for label in row.labels if label != IGNORED]
        ids = torch.tensor([row.input_ids], device=self._model.device)
        # The logits of a token stand at the place before it.
        logits = self._model(input_ids=ids, logits_to_keep=len(reply) + 1).logits[0, :-1].float()
        loss = torch.nn.functional.cross_entropy(logits, ids[0, -len(reply) :], reduction="sum")
        return float(loss), len(reply)
