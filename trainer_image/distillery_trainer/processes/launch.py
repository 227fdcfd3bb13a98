"""Starts the processes of a training on this node as torchrun does, and again from the last checkpoint where one is
lost; on several nodes they meet at the first one (torchrun's c10d rendezvous)."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from distillery_api.paths import CONFIG_FILE
from distillery_api.run_config import NODE_NUMBER_VARIABLE, RunConfig
from distillery_api.stage import Stage
from distillery_api.stage_result import StageResult
from distillery_trainer.processes.node import Node, number_of_nodes, this_node
from distillery_trainer.processes.outcome import Outcome, forget_earlier
from distillery_trainer.processes.process_failures import lost_processes
from distillery_trainer.runtime.errors import StageError, Terminated
from distillery_trainer.runtime.signals import on_termination

MAX_RESTARTS = 3
"""How often the processes are started again within one attempt, after one of them was lost."""
MODULE = "distillery_trainer.training_process"
STOPPING_FILE = "stopping"
"""Beside the configuration of the processes: says that this node is to stop. torchrun's agent sends the same signal to
processes that are to start again."""
_END_AGENT = signal.SIGUSR2
"""Ends torchrun's agent, which otherwise would wait for other nodes while this one is to stop."""
_STILL_STOPPING_SECONDS = 0.2


def takes_several_processes(config: RunConfig) -> bool:
    """Whether the stage is a training by several processes."""
    return config.stage is Stage.TRAIN and (config.training.gpus_per_node or 1) * number_of_nodes() > 1


def is_first_node(config: RunConfig) -> bool:
    """Whether this is the one node of the stage, or the first of several."""
    return not takes_several_processes(config) or os.environ.get(NODE_NUMBER_VARIABLE, "0") == "0"


def train_in_processes(config: RunConfig) -> StageResult:
    """Train in `gpusPerNode` processes of this node together with those of all other nodes, to the end.

    Raises StageError where this node has too few GPUs, and where the processes were stopped or lost without a result.
    """
    import torch

    node = this_node(config, torch.cuda.device_count())
    outcome = Outcome(config.stage_folder.outcome(node.run_id))
    if node.is_first:
        forget_earlier(outcome)
    with tempfile.TemporaryDirectory() as folder, _stop_forwarded(Path(folder) / STOPPING_FILE) as stopping:
        path = Path(folder) / CONFIG_FILE
        path.write_text(config.model_dump_json(by_alias=True, exclude_none=True))
        node.await_first()
        lost = _run_agent(node, Path(folder), ("-m", MODULE, "--config", str(path), "--outcome", str(outcome.path)))
    result = outcome.read()
    if node.nodes == 1:
        shutil.rmtree(outcome.path.parent, ignore_errors=True)
    if result is None:
        raise Terminated if stopping.is_set() else lost or lost_processes({}, node, Path(folder))
    return result


def _run_agent(node: Node, folder: Path, arguments: tuple[str, ...]) -> StageError | None:
    """Run torchrun's agent until all processes have ended. Returns what they were lost by, if they were."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # Otherwise the processes that are started again find the addresses of those before them (torch 2.15).
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    logs = folder / "logs"
    config = LaunchConfig(
        min_nodes=node.nodes,
        max_nodes=node.nodes,
        nproc_per_node=node.processes,
        role="process",
        run_id=node.run_id,
        rdzv_backend="c10d",
        rdzv_endpoint=node.rendezvous,
        rdzv_configs={"timeout": node.join_seconds, "is_host": node.is_first},
        local_addr=node.address,
        max_restarts=MAX_RESTARTS,
        start_method="spawn",
        signals_to_handle=_END_AGENT.name,
        # Each process sees its own GPU alone, as the first.
        virtual_local_rank=node.has_gpus,
        logs_specs=DefaultLogsSpecs(log_dir=str(logs), tee=Std.ERR),
        log_line_prefix_template="[process${rank}]:",
    )
    try:
        elastic_launch(config, sys.executable)(*arguments)
    except ChildFailedError as error:
        return lost_processes({rank: each.exitcode for rank, each in error.failures.items()}, node, logs)
    except (RendezvousError, SignalException, OSError, RuntimeError) as error:
        return lost_processes({}, node, logs, error)
    finally:
        signal.signal(_END_AGENT, signal.SIG_IGN)
    return None


@contextlib.contextmanager
def _stop_forwarded(note: Path) -> Iterator[threading.Event]:
    """Inside the block a request to stop goes to the processes, which save a checkpoint first; yields whether there was
    one. It is noted in a file as well. With no process to pass it on to, the block ends with Terminated."""
    import psutil

    stopping, ended = threading.Event(), threading.Event()

    def processes() -> list[psutil.Process]:
        return [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]

    def end_agent() -> None:
        while processes() and not ended.is_set():
            time.sleep(_STILL_STOPPING_SECONDS)
        if not ended.is_set():
            os.kill(os.getpid(), _END_AGENT)

    def stop() -> None:
        stopping.set()
        note.touch()
        running = processes()
        for process in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        if not running:
            raise Terminated
        threading.Thread(target=end_agent, name="stop", daemon=True).start()

    with on_termination(stop):
        try:
            yield stopping
        finally:
            ended.set()
