"""`python -m distillery_trainer.student.vocabulary_check`: whether the student has the vocabulary of its teacher.

It reads `{"config": RunConfig, "teacher": its name, "written": positions, "given": positions}` from standard input, and
ends as `student.check` does.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from distillery_api.reasons import Reason
from distillery_api.run_config import RunConfig
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.student.check import read_without_weights
from distillery_trainer.student.check_process import answer
from distillery_trainer.student.vocabulary import Vocabulary, other_vocabulary


def check(probed: dict[str, Any]) -> None:
    """Compare the tokens of a probed teacher with the student's. Raises UserError where they are others."""
    config = RunConfig.model_validate(probed["config"])
    base = read_without_weights(config)
    if problem := Vocabulary(base.tokenizer).problem(probed["written"], probed["given"]):
        raise UserError(other_vocabulary(base.uri, probed["teacher"], problem), reason=Reason.INVALID_MODEL)


if __name__ == "__main__":
    sys.exit(answer(lambda content: check(json.loads(content))))
