"""The teacher's reasoning as a second task beside the answers (distilling step by step, Hsieh et al., arXiv
2305.02301).

It has a prompt of its own, so that the student's prompt and answers stay short where it is served. In the loss, the
mean over the tokens of a row's reasoning counts `weight` times what the mean over those of its answer does; a sum over
all tokens would leave the answers, a few tokens long, without effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distillery_api.rejection_reasons import RejectionReason
from distillery_trainer.data.rows import Rejection
from distillery_trainer.student.objectives.samples import Encode
from distillery_trainer.student.row_encoding import WEIGHT, EncodedRow
from distillery_trainer.tasks.prompts import rationale_prompt

DEFAULT_WEIGHT = 0.5
LEARNED, MISSING, TOO_LONG, UNTRAINABLE = "rationales", "noRationale", "longRationale", "untrainableRationale"
"""What is counted: rows whose reasoning is learned, that have none, and whose reasoning is left out."""


def with_rationale(row: Mapping[str, Any], own: EncodedRow, weight: float, encode: Encode) -> tuple[EncodedRow, str]:
    """The encoded row with the teacher's reasoning as its sibling, and what it counts as. Without usable reasoning, the
    row has the first task alone."""
    own = own if WEIGHT in own.columns else own.weighted(1.0)
    if not row.get("reasoning"):
        return own, MISSING
    completion = [{"role": "assistant", "content": row["reasoning"]}]
    encoded = encode({"prompt": rationale_prompt(row["prompt"]), "completion": completion, "tools": row.get("tools")})
    if isinstance(encoded, Rejection):
        return own, TOO_LONG if encoded.reason is RejectionReason.TOO_LONG else UNTRAINABLE
    share = weight * own.answer_length / encoded.answer_length
    return own.with_siblings(encoded.weighted(share)), LEARNED
