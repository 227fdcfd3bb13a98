"""The rows that generate has kept, as the token ids that a student is trained on."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from distillery_api.paths import StageFolder
from distillery_api.reasons import Reason
from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RunConfig
from distillery_api.stage_result import ObjectiveFigures, RowCounts
from distillery_trainer.data.rows import RejectedRow, Rejection
from distillery_trainer.evaluation.validation_score import ScoredRow
from distillery_trainer.runtime.errors import PartialResult, UserError
from distillery_trainer.runtime.files import AtomicFile, read_rows, to_line
from distillery_trainer.runtime.row_errors import ENDS_STAGE, RowErrors
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.student.model_folder import ModelFolder
from distillery_trainer.student.objectives.learned_rows import LearnedRows
from distillery_trainer.student.objectives.pairs import Pair
from distillery_trainer.student.row_encoding import EncodedRow, RowEncoder


@dataclass
class EncodedRows:
    """The rows of both splits that are trained on, and the counts of untrainable rows."""

    train: list[EncodedRow] = field(default_factory=list)
    validation: list[EncodedRow] = field(default_factory=list)
    scored: list[ScoredRow] = field(default_factory=list)
    """The validation rows as they can be scored."""
    objective: ObjectiveFigures | None = None
    """What the train rows bring beside their answers."""
    pairs: list[Pair] = field(default_factory=list)
    """Right answers before wrong ones, where preferences are learned."""
    untrainable: dict[str, Counter[RejectionReason]] = field(
        default_factory=lambda: {"train": Counter(), "validation": Counter()}
    )

    def counts(self, split: str) -> RowCounts:
        """The counts of one split."""
        kept, reasons = len(getattr(self, split)), self.untrainable[split]
        return _counts(kept, reasons)

    def total(self) -> RowCounts:
        """The counts of both splits together."""
        return _counts(
            len(self.train) + len(self.validation), self.untrainable["train"] + self.untrainable["validation"]
        )

    def first_part(self, parts: int) -> EncodedRows:
        """One of so many parts of the train rows, with their pairs: the same rows in every attempt, whatever their
        order, and all of them in any larger part."""
        train = sorted(self.train, key=lambda row: _digest(row.input_ids))[: len(self.train) // parts]
        rejected = {_whole(pair) for pair in self.pairs} - {tuple(row.input_ids) for row in self.train}
        paired = {tuple(row.input_ids) for row in train}
        paired |= set(sorted(rejected, key=lambda ids: _digest(list(ids)))[: len(rejected) // parts])
        return replace(self, train=train, pairs=[pair for pair in self.pairs if _whole(pair) in paired])

    def partial_result(self) -> PartialResult:
        """The counts, for the result of a failed attempt."""
        return PartialResult(rows=self.total(), splits=self.splits())

    def splits(self) -> dict[str, RowCounts]:
        """The counts by split."""
        return {split: self.counts(split) for split in self.untrainable}


def _digest(ids: list[int]) -> bytes:
    return hashlib.sha256(repr(ids).encode()).digest()


def _whole(pair: Pair) -> tuple[int, ...]:
    """Prompt and right answer: those of a train row, or of one that was rejected for its wrong answer."""
    return (*pair.prompt, *pair.chosen)


def _counts(kept: int, reasons: Counter[RejectionReason]) -> RowCounts:
    return RowCounts(read=kept + reasons.total(), kept=kept, rejected=reasons.total(), rejected_by_reason=dict(reasons))


def encode_rows(
    config: RunConfig, base: ModelFolder, generated: StageFolder, folder: StageFolder, progress: ProgressReporter
) -> EncodedRows:
    """The generated rows as token ids. Raises UserError with the most frequent reason if all rows of a split are
    untrainable."""
    rows = EncodedRows()
    encoder, errors = RowEncoder(base, config.training.max_length), RowErrors()
    learned = LearnedRows(config, encoder)
    with AtomicFile(folder.not_trained) as rejected_rows:
        for split, path, kept in (
            ("train", generated.train, rows.train),
            ("validation", generated.validation, rows.validation),
        ):
            for line, row in enumerate(read_rows(path), start=1):
                progress.alive()
                encoded = _encoded(encoder, row, errors)
                if isinstance(encoded, EncodedRow):
                    kept.append(learned.learned(row, encoded) if split == "train" else encoded)
                    if split == "validation":
                        rows.scored.append(ScoredRow.of(row, encoded))
                    continue
                rejected_rows.write(to_line(_rejected(split, line, row, encoded)))
                rows.untrainable[split][encoded.reason] += 1
                progress.row_rejected(split, encoded.reason)
    _check_not_empty(base, rows, config.training.max_length)
    rows.pairs = learned.pairs(read_rows(generated.rejected) if generated.rejected.exists() else ())
    rows.objective = learned.figures()
    return rows


def _encoded(encoder: RowEncoder, row: dict[str, Any], errors: RowErrors) -> EncodedRow | Rejection:
    try:
        return encoder.encode(row)
    except ENDS_STAGE:
        raise
    except Exception as error:  # noqa: BLE001 - it is about this row alone
        return Rejection(RejectionReason.INTERNAL_ERROR, errors.message(str(row.get("id")), error))


def _rejected(split: str, line: int, row: dict[str, Any], rejection: Rejection) -> RejectedRow:
    last = row["prompt"][-1]
    text = last.get("content", "") if isinstance(last, dict) else ""
    return RejectedRow(split, row["id"], line, rejection.reason, rejection.message, None, None, text)


_REMEDIES = {
    RejectionReason.PROMPT_NOT_A_PREFIX: "the model's chat template is not suitable for training; use another student",
    RejectionReason.NO_END_OF_TURN: "the chat template does not end an answer; correct it, or use another student",
    RejectionReason.SPECIAL_TOKEN: "remove the control tokens from the rows",
    RejectionReason.INTERNAL_ERROR: "report it with the tracebacks in the log",
}


def _remedy(reason: RejectionReason, base: ModelFolder, max_length: int) -> str:
    if reason is not RejectionReason.TOO_LONG:
        return _REMEDIES[reason]
    if base.positions and base.positions <= max_length:
        return f"the model has positions for {base.positions:,} tokens: shorten the rows, or choose another student"
    return f"raise training.maxLength ({max_length:,}), or shorten the rows"


def _check_not_empty(base: ModelFolder, rows: EncodedRows, max_length: int) -> None:
    for split in rows.untrainable:
        if getattr(rows, split):
            continue
        reasons = rows.untrainable[split].most_common(1)
        if not reasons:
            raise UserError(f"The generate stage kept no {split} rows.", reason=Reason.TOO_FEW_ROWS)
        reason, number = reasons[0]
        about_model = reason in (RejectionReason.PROMPT_NOT_A_PREFIX, RejectionReason.NO_END_OF_TURN)
        raise UserError(
            f"All {split} rows are untrainable: {number:,} of {rows.untrainable[split].total():,} are rejected as"
            f" {reason}; {_remedy(reason, base, max_length)} ({base.uri}).",
            reason=Reason.INVALID_MODEL if about_model else Reason.TOO_FEW_ROWS,
            partial_result=rows.partial_result(),
        )
