"""Waits until the student's server has loaded the adapter to verify. Its Pods read its name in a ConfigMap,
of which the kubelet tells them within about a minute, each at its own time."""

from __future__ import annotations

import time

from distillery_api.reasons import Reason
from distillery_trainer.runtime.errors import TryLater, UserError
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.verification.served_student import NoAnswer, ServedStudent

PATIENCE_SECONDS = 300.0
IN_A_ROW = 12
"""So many answers of the same adapter, each over a connection of its own, are of all Pods in all likelihood."""
_PAUSE_SECONDS = 2.0


def wait_for_adapter(
    student: ServedStudent, adapter: str, progress: ProgressReporter, *, patience: float = PATIENCE_SECONDS
) -> None:
    """Wait until `student` is served with the adapter in the folder `adapter` of its Pods. Raises UserError where it is
    not after `patience` seconds, TryLater where nobody answers."""
    deadline, seen = time.monotonic() + patience, 0
    while seen < IN_A_ROW:
        progress.alive()
        try:
            served: str | NoAnswer | None = student.adapter()
        except NoAnswer as problem:
            served = problem
        seen = seen + 1 if served == adapter else 0
        if served != adapter:
            _give_up_after(deadline, student, adapter, served)
            time.sleep(_PAUSE_SECONDS)


def _give_up_after(deadline: float, student: ServedStudent, adapter: str, served: str | NoAnswer | None) -> None:
    if time.monotonic() < deadline:
        return
    if isinstance(served, NoAnswer):
        message = f"The student's server at {student.url} does not answer: {served}"
        raise TryLater(message, reason=Reason.VERIFICATION_FAILED) from served
    message = f"The student's server has not loaded the adapter {adapter}, but {served or 'none'}; its log says why."
    raise UserError(message, reason=Reason.VERIFICATION_FAILED)
