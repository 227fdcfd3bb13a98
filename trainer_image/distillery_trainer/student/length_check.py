"""`python -m distillery_trainer.student.length_check`: whether the shortest row of all is short enough for the student.

It reads `{"config": RunConfig, "prompt": messages}` from standard input, and ends as `student.check` does.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from distillery_api.reasons import Reason
from distillery_api.rejection_reasons import RejectionReason
from distillery_api.run_config import RunConfig
from distillery_trainer.data.rows import Rejection
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.student.check import read_without_weights
from distillery_trainer.student.check_process import answer
from distillery_trainer.student.row_encoding import RowEncoder


def check(shortest: dict[str, Any]) -> None:
    """Encode the prompt with an answer of one letter. Raises UserError where that is too long already."""
    config = RunConfig.model_validate(shortest["config"])
    base, limit = read_without_weights(config), config.training.max_length
    answer = [{"role": "assistant", "content": "B"}]
    rejection = RowEncoder(base, limit).encode({"prompt": shortest["prompt"], "completion": answer})
    if not isinstance(rejection, Rejection) or rejection.reason is not RejectionReason.TOO_LONG:
        return
    field, remedy = "training.maxLength", "Raise it as far as the student allows, or shorten the rows."
    if base.positions is not None and base.positions <= limit:
        field, remedy = "student.model.uri", "Shorten the rows, or use a student with a longer context."
    raise UserError(
        f"{field}: even the shortest row is too long. {rejection.message} {remedy}", reason=Reason.INVALID_SPEC
    )


if __name__ == "__main__":
    sys.exit(answer(lambda content: check(json.loads(content))))
