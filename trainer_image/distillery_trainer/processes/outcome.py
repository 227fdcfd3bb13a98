"""How a training by several processes ended: the result of the first of them that has one.

It lies in the stage's folder, which all nodes see, so that a process that is started again after the end does nothing.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from distillery_api.runtime.atomic_files import make_folder
from distillery_api.stage_result import StageResult


@dataclass(frozen=True)
class Outcome:
    """The file of the outcome of one attempt."""

    path: Path

    @property
    def is_known(self) -> bool:
        """Whether the attempt has ended."""
        return self.path.exists()

    def read(self) -> StageResult | None:
        """The result; None while there is none."""
        try:
            return StageResult.model_validate_json(self.path.read_bytes())
        except (OSError, ValidationError):
            return None

    def record(self, result: StageResult) -> None:
        """Keep a result, unless another process was faster: later errors follow from the first one."""
        with contextlib.suppress(OSError):  # a volume that is full; the process then counts as lost
            make_folder(self.path.parent, private=True)
            draft = self.path.with_name(f".{self.path.name}-{uuid.uuid4().hex}")
            draft.write_text(result.model_dump_json(by_alias=True, exclude_none=True))
            with contextlib.suppress(FileExistsError):
                os.link(draft, self.path)
            draft.unlink()


def forget_earlier(outcome: Outcome) -> None:
    """Remove the outcomes of attempts before this one. Called where no process of them is left."""
    for path in outcome.path.parent.glob("*"):
        path.unlink(missing_ok=True)
