"""What a training is determined by, so that a checkpoint of another one is never resumed: a base model may have changed
under its name, and a release may choose other settings or encode rows in another way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from torch import nn

from distillery_api.base import NotIdentity
from distillery_api.spec import Training
from distillery_api.stage_result import TrainingSettings
from distillery_trainer.student.row_encoding import EncodedRow

Settings = Mapping[str, str | int | float | bool | None]

_SAMPLES = 64
"""Values of each weight that are compared: a model that was trained further differs in nearly all of them."""
_ELSEWHERE = frozenset(
    {
        *(name for name, field in Training.model_fields.items() if NotIdentity in field.metadata),
        *("preset", "max_length", "max_duration", "epochs_without_gain", "search"),
    }
)
"""Fields of `training` that change no step of it, or that show in other settings or in the rows."""


def checkpoint_settings(
    training: Training,
    settings: TrainingSettings,
    train_rows: Sequence[EncodedRow],
    validation_rows: Sequence[EncodedRow],
    model: nn.Module,
) -> Settings:
    """Each setting by the name that users know it by; rows and model as digests."""
    given = training.model_dump(mode="json", by_alias=True, exclude=set(_ELSEWHERE), exclude_none=True)
    lora = {**given.get("lora", {}), "rank": settings.rank, "alpha": settings.alpha}
    chosen = {
        "epochs": settings.epochs,
        "batchSize": settings.batch_size,
        "learningRate": settings.learning_rate,
        **({"lora": lora} if settings.rank else {}),
    }
    return {
        **dict(_flat("training", {**given, **chosen})),
        "train rows": _digest_of_rows(train_rows),
        "validation rows": _digest_of_rows(validation_rows),
        "base model": _digest_of_weights(model),
    }


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str | int | float | bool | None]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}.{name}", value)
        else:
            yield f"{prefix}.{name}", value if isinstance(value, str | int | float | bool) else str(value)


def _digest_of_rows(rows: Sequence[EncodedRow]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        # Checkpoints of before rows had pictures are those of rows without any.
        digest.update(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY).replace(b',"pictures":[]', b""))
    return digest.hexdigest()


def _digest_of_weights(model: nn.Module) -> str:
    """Of names, shapes and some values, before adapters are added. In 16 bits: devices differ in the precision in which
    they load a model."""
    digest = hashlib.sha256()
    for name, weight in model.state_dict().items():
        values = weight.detach().flatten()
        some = values[:: max(1, values.numel() // _SAMPLES)].cpu().bfloat16().float()
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        digest.update(some.numpy().tobytes())
    return digest.hexdigest()
