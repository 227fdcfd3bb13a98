"""What cannot be finished in the time that a Pod has to end is lost when it is stopped: said once, while it can still
be changed."""

from __future__ import annotations

import sys

SECONDS = 120.0
"""The time that a stage's Pod has to end, unless the installation or the manifest says otherwise."""


class GracePeriod:
    """What a stopped training has to finish: the pass through the model that is under way, and a checkpoint."""

    def __init__(self) -> None:
        self._pass = self._checkpoint = 0.0
        self._said = False

    def micro_batch_took(self, seconds: float) -> None:
        """Note the time of a pass forward and back."""
        self._pass = max(self._pass, seconds)
        self._warn()

    def checkpoint_took(self, seconds: float) -> None:
        """Note the time in which a checkpoint was written."""
        self._checkpoint = max(self._checkpoint, seconds)
        self._warn()

    def _warn(self) -> None:
        needed = self._pass + self._checkpoint
        if self._said or needed < SECONDS:
            return
        self._said = True
        sys.stderr.write(
            f"A stopped training needs up to {needed:,.0f} seconds here ({self._pass:,.0f} for a micro-batch,"
            f" {self._checkpoint:,.0f} to write a checkpoint); by default a Pod has {SECONDS:,.0f}. Where it is stopped"
            " for its node, what came after its last checkpoint is lost, unless"
            " training.podTemplate.spec.terminationGracePeriodSeconds is longer than that.\n"
        )
