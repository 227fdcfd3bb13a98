"""How likely a model finds a given reply."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from distillery_trainer.data.rows import Message
from distillery_trainer.student.model_folder import ModelFolder
from distillery_trainer.student.row_encoding import IGNORED, EncodedRow, RowEncoder

_UNLIMITED_TOKENS = 2**31


class ReplyLikelihood:
    """Measures how likely a loaded model would have written certain replies."""

    def __init__(self, folder: ModelFolder, model: PreTrainedModel) -> None:
        self._model = model
        self._encoder = RowEncoder(folder, folder.positions or _UNLIMITED_TOKENS)

    def negative_log_likelihood(self, prompt: list[Message], reply: str) -> tuple[float, int]:
        """The sum of the negative log-likelihoods (nats) of a reply's tokens, including the end of the turn, and the
        number of tokens. (0, 0) for a reply that the model's chat format cannot express, or that is too long for it."""
        row = self._encoder.encode({"prompt": prompt, "completion": [{"role": "assistant", "content": reply}]})
        return self._loss(row) if isinstance(row, EncodedRow) else (0.0, 0)

    @torch.inference_mode()  # type: ignore[untyped-decorator]  # torch is not typed for us
    def _loss(self, row: EncodedRow) -> tuple[float, int]:
        reply: Sequence[int] = [label for label in row.labels if label != IGNORED]
        ids = torch.tensor([row.input_ids], device=self._model.device)
        # The logits of a token are at the position before it.
        pictures = self._encoder.base.picture_inputs(ids, row.pictures)
        on_device = {name: value.to(ids.device) for name, value in pictures.items()}
        logits = self._model(input_ids=ids, logits_to_keep=len(reply) + 1, **on_device).logits[0, :-1].float()
        loss = torch.nn.functional.cross_entropy(logits, ids[0, -len(reply) :], reduction="sum")
        return float(loss), len(reply)
