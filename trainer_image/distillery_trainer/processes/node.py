"""This node of a training: how many processes it has, and where they meet those of the other nodes."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from distillery_api.reasons import Reason
from distillery_api.run_config import (
    NODE_ADDRESS_VARIABLE,
    NODE_NUMBER_VARIABLE,
    NODES_VARIABLE,
    RENDEZVOUS_VARIABLE,
    RunConfig,
)
from distillery_trainer.runtime.errors import TryLater, UserError

_LOOPBACK = "127.0.0.1"
_VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
_JOIN_SECONDS = 1800
"""How long a node waits for the others: the nodes of a cluster are free at different times."""


@dataclass(frozen=True)
class Node:
    """One node of a training."""

    processes: int
    """Number of processes on it."""
    has_gpus: bool
    """Whether each process has a GPU; otherwise they share the processors."""
    run_id: str
    """The same on all nodes, and another one in each attempt."""
    nodes: int = 1
    number: int = 0
    """From 0."""
    rendezvous: str = f"{_LOOPBACK}:0"
    """HOST:PORT of the first node, at which all meet."""
    address: str = _LOOPBACK
    """Address at which other nodes reach this one."""
    join_seconds: int = _JOIN_SECONDS
    """How long it waits for the others."""

    @property
    def is_first(self) -> bool:
        """Whether the nodes meet here."""
        return self.number == 0

    def await_first(self) -> None:
        """Wait until the first node can be reached. Raises TryLater."""
        host, _, port = self.rendezvous.rpartition(":")
        until = time.monotonic() + self.join_seconds
        while not self.is_first:
            try:
                socket.create_connection((host, int(port)), timeout=5).close()
            except OSError as error:
                if time.monotonic() > until:
                    raise TryLater(
                        f"The first node of the training ({self.rendezvous}) was not there after"
                        f" {self.join_seconds / 60:.0f} minutes: {error}.",
                        reason=Reason.TRAINING_FAILED,
                    ) from error
                time.sleep(1)
            else:
                return


def number_of_nodes(environment: Mapping[str, str] = os.environ) -> int:
    """How many nodes train together."""
    return int(environment.get(NODES_VARIABLE, "1"))


def this_node(config: RunConfig, gpus: int, environment: Mapping[str, str] = os.environ) -> Node:
    """This node of the training that `config` asks for, which sees so many GPUs.

    Raises UserError where it has fewer than it should; CUDA_VISIBLE_DEVICES set to nothing asks for processes on the
    CPU.
    """
    wanted, nodes = config.training.gpus_per_node or 1, number_of_nodes(environment)
    has_gpus = environment.get(_VISIBLE_GPUS, "all").strip() not in ("", "-1")
    if config.training.gpus_per_node is None:
        has_gpus = has_gpus and gpus > 0
    elif has_gpus and gpus < wanted:
        raise UserError(_too_few(wanted, gpus), reason=Reason.INVALID_SPEC)
    if nodes == 1:
        return Node(wanted, has_gpus, uuid.uuid4().hex)
    rendezvous = environment[RENDEZVOUS_VARIABLE]
    attempt = rendezvous.partition(":")[0].partition(".")[0]
    number, address = int(environment[NODE_NUMBER_VARIABLE]), environment[NODE_ADDRESS_VARIABLE]
    return Node(wanted, has_gpus, attempt, nodes, number, rendezvous, address)


def _too_few(wanted: int, gpus: int) -> str:
    found = {0: "no GPU that can be used", 1: "1 GPU"}.get(gpus, f"{gpus} GPUs")
    return (
        f"training.gpusPerNode is {wanted}, and this machine has {found}. Set it to {max(1, gpus)}, or train on a"
        f" machine with {wanted} GPUs; the result is the same. (With {_VISIBLE_GPUS} set to nothing, the processes"
        " share the CPU.)"
    )
