"""Preference: what follows the training on answers, direct preference optimisation (Rafailov et al., arXiv 2305.18290)
by TRL's DPOTrainer, which goes on with the same adapter, or with all weights.

It has checkpoints of its own, so that a training that was killed in either part resumes there. The student after it
replaces the one before unless it is worse on the validation rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer

from distillery_api.spec import Training
from distillery_api.stage_result import TrainingSettings
from distillery_trainer.student.checkpoint_choice import ScoreModel
from distillery_trainer.student.checkpoints import CheckpointNote, checkpoint_path, last_checkpoint
from distillery_trainer.student.device import Device
from distillery_trainer.student.objectives.pairs import Pair

FOLDER = "preference"
"""Of the checkpoints, in the folder of those before."""
FEWEST_PAIRS = 8
"""Pairs below which they teach nothing but themselves."""
_EPOCHS = 3
_LEARNING_RATE = 0.1
"""Of that of the training before; preferences move a student far with few steps."""


@dataclass(frozen=True)
class PreferenceSetup:
    """What preferences are learned from and with."""

    pairs: Sequence[Pair]
    model: Callable[[], PreTrainedModel]
    """Loads the student of the training before, adapters included, ready to be trained."""
    reference: Callable[[], PreTrainedModel] | None
    """Loads it once more, where all weights are trained; with adapters, a copy of them is enough."""
    tokenizer: PreTrainedTokenizerBase
    training: Training
    settings: TrainingSettings
    device: Device
    folder: Path
    """For the checkpoints."""
    score: ScoreModel | None
    """Scores answers to validation rows; None where answers are long."""
    micro_batches: int = 1
    recompute: bool = False
    """Whether activations are computed again in any case, as they are where batches are in parts."""
    note: CheckpointNote = field(default_factory=CheckpointNote)
    """What the checkpoints are determined by: the student before, and the pairs."""

    @property
    def pairs_at_a_time(self) -> int:
        """A pair is two sequences, so half as many are in memory at a time as rows would be."""
        return max(1, self.settings.batch_size // self.micro_batches // 2)

    @property
    def recomputes(self) -> bool:
        """Whether activations are computed again."""
        return self.recompute or self.micro_batches > 1


@dataclass(frozen=True)
class Preferred:
    """What came of the pairs."""

    checkpoint: Path | None
    """The student; None where that before stays."""
    score: float | None
    note: str


class PairTrainer(DPOTrainer):  # type: ignore[misc]
    """DPOTrainer for pairs that are token ids already."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


def too_few(pairs: Sequence[Pair]) -> str | None:
    """Why pairs are not learned from, as a sentence; None where they are."""
    if len(pairs) >= FEWEST_PAIRS:
        return None
    number = "is 1 pair" if len(pairs) == 1 else f"are {len(pairs) or 'no'} pairs"
    return (
        f"There {number} of a right and a rejected answer, fewer than the {FEWEST_PAIRS} that preferences need: the"
        " student has learned from the answers alone."
    )


def learn_preferences(setup: PreferenceSetup, monitor: TrainerCallback, score_before: float | None) -> Preferred:
    """Train, resuming from the last checkpoint in the folder. Raises NonFiniteLoss."""
    resumed = last_checkpoint(setup.folder, setup.note)
    trainer = PairTrainer(
        model=setup.model(),
        ref_model=setup.reference() if setup.reference else None,
        args=pair_arguments(setup),
        train_dataset=_dataset(setup.pairs),
        processing_class=setup.tokenizer,
        callbacks=[monitor],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    steps = trainer.state.global_step
    said = f"{len(setup.pairs):,} pairs, {steps:,} steps"
    score = setup.score(trainer.model) if setup.score and score_before is not None else None
    if score is None or score_before is None:
        return Preferred(checkpoint_path(setup.folder, steps), None, f"{said}.")
    went = f"{said}: the score on validation rows went from {score_before:.3f} to {score:.3f}"
    if score < score_before:
        return Preferred(None, None, f"{went}, so the student before them is kept.")
    return Preferred(checkpoint_path(setup.folder, steps), score, f"{went}.")


def pair_arguments(setup: PreferenceSetup) -> DPOConfig:
    """The settings of DPOTrainer."""
    settings, device, at_a_time = setup.settings, setup.device, setup.pairs_at_a_time
    batches = math.ceil(settings.batch_size / at_a_time)
    steps = _EPOCHS * math.ceil(len(setup.pairs) / at_a_time / batches)
    return DPOConfig(
        output_dir=str(setup.folder),
        num_train_epochs=_EPOCHS,
        per_device_train_batch_size=at_a_time,
        gradient_accumulation_steps=batches,
        learning_rate=settings.learning_rate * _LEARNING_RATE,
        lr_scheduler_type="cosine",
        warmup_steps=min(setup.training.warmup_steps, steps // 10),
        beta=setup.training.objective.preference.beta,
        seed=setup.training.seed,
        bf16=device.dtype is torch.bfloat16,
        use_cpu=device.is_cpu,
        dataloader_pin_memory=not device.is_cpu,
        gradient_checkpointing=setup.recomputes,
        max_length=None,
        save_strategy="epoch",
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )


def _dataset(pairs: Sequence[Pair]) -> Dataset:
    return Dataset.from_dict(
        {
            "prompt_ids": [pair.prompt for pair in pairs],
            "chosen_ids": [pair.chosen for pair in pairs],
            "rejected_ids": [pair.rejected for pair in pairs],
        }
    )
