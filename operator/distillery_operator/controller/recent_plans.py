"""The plans of the Distillations that were reconciled last. A plan stays the same while spec and metadata do, and
making it is a large part of a reconciliation that finds nothing to do."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distillery_api.resource import Metadata
from distillery_api.stage import Stage
from distillery_api.status import DistillationStatus
from distillery_operator.cluster.parse_resource import read_distillation, read_metadata
from distillery_operator.core.situation import Settings, plan_for
from distillery_operator.planning.plan import Plan

MOST_PLANS = 1000
"""Each takes some 10 KB."""

Rows = tuple[tuple[str, str | None], ...]
"""Input hash and revision of the rows that generate has finished with."""


@dataclass(frozen=True)
class _Known:
    metadata: Metadata
    """With the generation, which grows with each change of the spec."""
    rows: Rows
    plan: Plan


class RecentPlans:
    """Makes plans, and remembers the latest by UID."""

    def __init__(self, settings: Settings, most: int = MOST_PLANS) -> None:
        self._settings, self._most = settings, most
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def plan(self, resource: Mapping[str, Any], previous: DistillationStatus) -> Plan:
        """The plan of a Distillation as the API server stores it. Raises InvalidDistillation."""
        metadata, rows = read_metadata(resource), _rows(previous)
        known = self._known.get(metadata.uid)
        if known is None or (known.metadata, known.rows) != (metadata, rows):
            known = _Known(metadata, rows, plan_for(read_distillation(resource), self._settings, previous))
        self._remember(known)
        return known.plan

    def _remember(self, known: _Known) -> None:
        self._known[known.metadata.uid] = known
        self._known.move_to_end(known.metadata.uid)
        if len(self._known) > self._most:
            self._known.popitem(last=False)


def _rows(status: DistillationStatus) -> Rows:
    return tuple((each.input_hash, each.rows_revision) for each in status.stages if each.name is Stage.GENERATE)
