"""Which held-out rows each process of an evaluation answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from distillery_api.base import LenientModel
from distillery_trainer.evaluation.systems import System


class Share(LenientModel):
    """The rows that one process answers."""

    process: int
    """Number of the process, from 0."""
    processes: int
    """Number of processes."""
    rows: dict[System, list[int]]
    """Row numbers, by system."""

    @classmethod
    def read(cls, path: Path) -> Share:
        """The share in a JSON file."""
        return cls.model_validate_json(path.read_bytes())


def shares(missing: Mapping[System, Sequence[int]], processes: int) -> list[Share]:
    """The rows without a reply, divided among so many processes."""
    return [
        Share(
            process=number,
            processes=processes,
            rows={system: list(rows[number::processes]) for system, rows in missing.items()},
        )
        for number in range(processes)
    ]
