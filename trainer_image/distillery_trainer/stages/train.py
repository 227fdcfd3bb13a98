"""The stage that makes the student: generated rows in, an adapter and a model folder out.

It goes on where an earlier attempt stopped. Nothing is cut in silence: a row that cannot be trained on as it stands is
rejected, counted and written down with its reason.
"""

from __future__ import annotations

import gc
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from distillery_api.paths import Artefact, StageFolder
from distillery_api.reasons import Reason
from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RunConfig
from distillery_api.spec import TrainingMethod
from distillery_api.stage import Stage
from distillery_api.stage_result import RowCounts, StageOutcome, StageResult, TrainingFigures
from distillery_trainer.data.records import RejectedRow, Rejection
from distillery_trainer.runtime.errors import PartialResult, StageError, Terminated, UserError
from distillery_trainer.runtime.files import AtomicFile, read_rows, to_line
from distillery_trainer.runtime.library_logging import quiet_libraries
from distillery_trainer.runtime.signals import on_termination
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.student.device import Device, choose_device, is_out_of_memory
from distillery_trainer.student.lora import lora_adapters, merged, save_adapter
from distillery_trainer.student.model_folder import ModelFolder, locate, open_folder
from distillery_trainer.student.row_encoding import EncodedRow, RowEncoder
from distillery_trainer.student.saving import save_student, weight_storage_errors_explained
from distillery_trainer.student.training_loop import NotFinite, TrainingMonitor, TunedModel, Tuning, tune


def run(config: RunConfig, progress: ProgressReporter) -> StageResult:
    """Train the student. Raises StageError."""
    quiet_libraries()
    folder = config.stage_folder
    base = open_folder(locate(config), config.student.model.uri)
    rows = encode_rows(config, base, config.input_folder(Stage.GENERATE), folder, progress)
    device = choose_device()
    started = time.monotonic()
    with _failures_explained(rows.kept()):
        tuned = _tune(config, base, rows, device, progress)
        seconds = time.monotonic() - started
        _save(config, base, tuned, folder)
    shutil.rmtree(folder.checkpoints)
    return _result(config, folder, rows, _figures(tuned, device, seconds))


# --- the rows


@dataclass
class EncodedRows:
    """The rows of both splits that are trained on, and where the others went."""

    train: list[EncodedRow] = field(default_factory=list)
    validation: list[EncodedRow] = field(default_factory=list)
    rejected: dict[str, Counter[RejectionReason]] = field(
        default_factory=lambda: {"train": Counter(), "validation": Counter()}
    )

    def counts(self, split: str) -> RowCounts:
        """Rows of one split."""
        kept, reasons = len(getattr(self, split)), self.rejected[split]
        return _counts(kept, reasons)

    def total(self) -> RowCounts:
        """Rows of both splits."""
        return _counts(len(self.train) + len(self.validation), self.rejected["train"] + self.rejected["validation"])

    def kept(self) -> PartialResult:
        """What a failed attempt reports."""
        return PartialResult(rows=self.total(), splits=self.splits())

    def splits(self) -> dict[str, RowCounts]:
        """Rows by split."""
        return {split: self.counts(split) for split in self.rejected}


def _counts(kept: int, reasons: Counter[RejectionReason]) -> RowCounts:
    return RowCounts(read=kept + reasons.total(), kept=kept, rejected=reasons.total(), rejected_by_reason=dict(reasons))


def encode_rows(
    config: RunConfig, base: ModelFolder, generated: StageFolder, folder: StageFolder, progress: ProgressReporter
) -> EncodedRows:
    """The generated rows as token ids. Raises UserError where none is left, with the commonest reason."""
    rows = EncodedRows()
    encoder = RowEncoder(base, config.training.max_length)
    with AtomicFile(folder.not_trained) as rejected:
        for split, path, kept in (
            ("train", generated.train, rows.train),
            ("validation", generated.validation, rows.validation),
        ):
            for line, row in enumerate(read_rows(path), start=1):
                encoded = encoder.encode(row)
                if isinstance(encoded, EncodedRow):
                    kept.append(encoded)
                    continue
                rejected.write(to_line(_rejected(split, line, row, encoded)))
                rows.rejected[split][encoded.reason] += 1
                progress.row_rejected(split, encoded.reason)
    _refuse_empty(base, rows)
    return rows


def _rejected(split: str, line: int, row: dict[str, str], rejection: Rejection) -> RejectedRow:
    return RejectedRow(split, row["id"], line, rejection.reason, rejection.message, None, None)


_REMEDIES = {
    RejectionReason.TOO_LONG: "raise training.maxLength (at most the model's own limit), or shorten the rows",
    RejectionReason.PROMPT_NOT_A_PREFIX: "the model's chat template is not fit for training; use another student",
    RejectionReason.NO_END_OF_TURN: "the chat template never ends an answer; correct it, or use another student",
    RejectionReason.SPECIAL_TOKEN: "remove the control tokens from the rows",
}


def _refuse_empty(base: ModelFolder, rows: EncodedRows) -> None:
    for split in rows.rejected:
        if getattr(rows, split):
            continue
        reasons = rows.rejected[split].most_common(1)
        if not reasons:
            raise UserError(f"The generate stage kept no {split} rows.", reason=Reason.TOO_FEW_ROWS)
        reason, number = reasons[0]
        about_model = reason in (RejectionReason.PROMPT_NOT_A_PREFIX, RejectionReason.NO_END_OF_TURN)
        raise UserError(
            f"No {split} row can be trained on: {number:,} of {rows.rejected[split].total():,} are rejected as"
            f" {reason}; {_REMEDIES[reason]} ({base.uri}).",
            reason=Reason.INVALID_MODEL if about_model else Reason.TOO_FEW_ROWS,
            kept=rows.kept(),
        )


# --- the training


def _tune(
    config: RunConfig, base: ModelFolder, rows: EncodedRows, device: Device, progress: ProgressReporter
) -> TunedModel:
    lora = config.training.method is TrainingMethod.LORA
    folder = config.stage_folder.checkpoints
    watch = TrainingMonitor(lambda done, total: progress.update(done, total, "steps"))
    with on_termination(watch.stop), weight_storage_errors_explained(str(folder)):
        tuning = Tuning(
            # Frozen weights lose nothing in the precision that they are multiplied in; trained ones need more.
            model=base.load(device.dtype if lora else torch.float32),
            tokenizer=base.tokenizer,
            adapters=lora_adapters(config.training.lora) if lora else None,
            train_rows=rows.train,
            validation_rows=rows.validation,
            training=config.training,
            device=device,
            folder=folder,
        )
        tuned = tune(tuning, watch)
    if tuned is None:
        raise Terminated("The training was told to stop and has left a checkpoint; run again, it goes on from there.")
    return tuned


def _save(config: RunConfig, base: ModelFolder, tuned: TunedModel, folder: StageFolder) -> None:
    gc.collect()  # the trainer's model is no longer needed, and the merge holds one of its own
    if config.training.method is TrainingMethod.LORA:
        save_adapter(tuned.checkpoint, folder.adapter)
        save_student(merged(base, folder.adapter), base, folder.model)
        return
    trained = open_folder(tuned.checkpoint, base.uri).load(base.config.dtype or torch.float32)
    save_student(trained, base, folder.model)


@contextmanager
def _failures_explained(kept: PartialResult) -> Iterator[None]:
    """Turn what can befall a training into sentences that name the setting to change."""
    try:
        yield
    except NotFinite as error:
        message = f"The training diverged: {error}. Lower training.learningRate, or raise training.warmupSteps."
        raise UserError(message, reason=Reason.TRAINING_FAILED, kept=kept) from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        message = (
            "The training ran out of memory. Lower training.batchSize or training.maxLength, choose a smaller student,"
            " or give the stage more in training.resources."
        )
        raise UserError(message, reason=Reason.OUT_OF_MEMORY, kept=kept) from error
    except StageError as error:
        error.kept = kept
        raise


# --- the result


def _figures(tuned: TunedModel, device: Device, seconds: float) -> TrainingFigures:
    return TrainingFigures(
        steps=tuned.steps,
        train_loss=round(tuned.train_loss, 6),
        validation_loss=round(tuned.validation_loss, 6),
        trainable_parameters=tuned.trainable_parameters,
        device=device.kind,
        precision=device.precision,
        seconds=round(seconds, 1),
    )


def _files(config: RunConfig, folder: StageFolder, rows: EncodedRows) -> dict[str, str]:
    """What there is to look at; `notTrained` are the rows that the training itself rejected."""
    paths = {Artefact.ADAPTER: folder.adapter, Artefact.MODEL: folder.model}
    if rows.total().rejected:
        paths[Artefact.NOT_TRAINED] = folder.not_trained
    return {name: config.paths.relative(path) for name, path in paths.items() if path.exists()}


def _result(config: RunConfig, folder: StageFolder, rows: EncodedRows, figures: TrainingFigures) -> StageResult:
    total = rows.counts("train")
    left_out = f"; {rows.total().rejected:,} rows rejected" if rows.total().rejected else ""
    return StageResult(
        stage=Stage.TRAIN,
        folder=config.folder,
        state=StageOutcome.DONE,
        message=f"Trained {figures.steps:,} steps on {total.kept:,} rows; validation loss"
        f" {figures.validation_loss:.4f}{left_out}.",
        rows=rows.total(),
        splits=rows.splits(),
        training=figures,
        files=_files(config, folder, rows),
    )
