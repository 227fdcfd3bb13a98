"""The processes that train one student together, and what they agree on.

Numbers and decisions go over the CPU (gloo), tensors of the model over NCCL where there are GPUs, so that agreeing
waits for no GPU.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")

_LAUNCHED = "TORCHELASTIC_RUN_ID"
"""Set by torchrun alone: other tools set RANK and WORLD_SIZE as well."""
_CONNECTION_ERRORS = ("gloo", "NCCL", "ncclInternal", "Connection closed", "Connection reset", "Socket", "TCPStore")


class ProcessLost(Exception):
    """Another process has failed or stopped, and this one cannot go on without it."""


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of a training, and this one's place among them; by itself a training in one process."""

    rank: int = 0
    """This process's number, from 0."""
    size: int = 1
    """Number of processes on all nodes."""
    on_this_node: int = 1
    """Number of processes on this node."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes what is written once: the result, checkpoints, the model."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.size == 1

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of what all of them do together."""
        return items[self.rank :: self.size]

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it is true in any of the processes."""
        return tuple(total > 0 for total in self.sum(*map(float, flags)))

    def sum(self, *numbers: float) -> tuple[float, ...]:
        """For each number, its sum over the processes, the same in all of them."""
        if self.is_alone:
            return numbers
        import torch

        totals = torch.tensor(numbers, dtype=torch.float64)
        torch.distributed.all_reduce(totals)
        return tuple(totals.tolist())

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.sum(0.0)

    def first_decides(self, decide: Callable[[], T]) -> T:
        """What `decide` returns in the first process, in all of them; the others raise ProcessLost if it fails there.

        The others call nothing until it has returned.
        """
        if self.is_alone:
            return decide()
        import torch

        decided: list[Any] = [None]
        try:
            if self.is_first:
                decided = [(decide(),)]
        finally:  # Those that wait are told even of a failure.
            torch.distributed.broadcast_object_list(decided, src=0)
        if decided[0] is None:
            raise ProcessLost("the first process failed")
        value: T = decided[0][0]
        return value


_JOINED: ContextVar[ProcessGroup] = ContextVar("process_group", default=ProcessGroup())  # noqa: B039 - it is frozen


def this_group() -> ProcessGroup:
    """The group that this process has joined; outside `joined_group` it is alone."""
    return _JOINED.get()


@contextlib.contextmanager
def joined_group(timeout_seconds: float) -> Iterator[ProcessGroup]:
    """The group that this process was started in, for as long as the block lasts.

    A process that waits for another one longer than the timeout fails, by an error or, in NCCL, by the end of the
    process. Raises ProcessLost in place of the errors of connections to others.
    """
    if _LAUNCHED not in os.environ:
        yield this_group()
        return
    import torch

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with _connection_errors_named():
        torch.distributed.init_process_group(backend, timeout=timedelta(seconds=timeout_seconds))
        group = ProcessGroup(
            torch.distributed.get_rank(), torch.distributed.get_world_size(), int(os.environ["LOCAL_WORLD_SIZE"])
        )
        token = _JOINED.set(group)
        try:
            yield group
        finally:
            _JOINED.reset(token)
    torch.distributed.destroy_process_group()


@contextlib.contextmanager
def _connection_errors_named() -> Iterator[None]:
    import torch

    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.distributed.DistError) and not any(
            name in str(error) for name in _CONNECTION_ERRORS
        ):
            raise
        raise ProcessLost(str(error)) from error
