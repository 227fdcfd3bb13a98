"""A training by several processes: what each takes of a batch, how they are started, and why they were lost."""

import json
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_trainer.processes.node import Node, this_node
from distillery_trainer.processes.outcome import Outcome, forget_earlier
from distillery_trainer.processes.process_failures import lost_processes
from distillery_trainer.processes.process_group import ProcessGroup, joined_group
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.student.checkpoint_choice import owes_evaluation
from distillery_trainer.student.checkpoints import newest_complete, read_state, step_of
from distillery_trainer.student.shared_batches import SharedCollator
from tiny_model import write_tiny_model
from tiny_training import Fault, Faults, TinyTraining, forked, in_process
from train_evaluate_run import TrainEvaluateRun, training_rows
from waiting import wait_until

NODE = Node(processes=2, has_gpus=False, run_id="a", nodes=2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def finish(process):
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def test_two_processes_killed_and_stopped_on_the_way_train_as_one_process_does(tiny, tmp_path):
    settings = {"preset": "Auto", "learningRate": 0.001, "epochs": 3, "batchSize": 5}
    rows = {"train": training_rows(23), "validation": training_rows(13, 100), "training": settings}
    one = TrainEvaluateRun(tmp_path / "one", tiny, **rows)
    alone_process = one.start(Stage.TRAIN)

    together_rows = {**rows, "training": {**settings, "gpusPerNode": 2}}
    two = TrainEvaluateRun(tmp_path / "two", tiny, **together_rows, base_folder="base-a")
    checkpoints = two.folder(Stage.TRAIN) / "checkpoints"
    process = two.start(Stage.TRAIN)
    wait_until((checkpoints / "checkpoint-5" / "complete.json").exists, seconds=200)
    last_child_of(process).send_signal(signal.SIGKILL)
    wait_until((checkpoints / "checkpoint-10" / "complete.json").exists, seconds=200)
    process.terminate()
    code, said = finish(process)
    assert code in (0, 143), said
    assert said.count("[process0]:Training: ") == 2, said
    if code:
        assert two.result(Stage.TRAIN).reason is Reason.TERMINATED
        code, said = finish(two.start(Stage.TRAIN))
    assert code == 0, said
    code, said = finish(alone_process)
    assert code == 0, said

    alone, together = one.result(Stage.TRAIN), two.result(Stage.TRAIN)
    assert together.training.steps == alone.training.steps == 15
    assert curve(together) == pytest.approx(curve(alone), abs=1e-3)
    assert together.rows == alone.rows
    assert sorted(path.name for path in two.folder(Stage.TRAIN).iterdir() if path.is_dir()) == ["adapter", "model"]


def curve(result):
    return [figure for epoch in result.training.losses for figure in (epoch.train, epoch.validation, epoch.score)]


def test_a_stop_in_the_midst_of_an_evaluation_by_several_processes_saves_the_last_step(tmp_path):
    whole = TinyTraining(tmp_path / "whole", batch_size=2)
    ended = whole.attempt()
    assert ended.outcome, ended
    stopped = TinyTraining(tmp_path / "stopped", batch_size=2)
    in_two_processes(stopped, Fault("validation batch", 1, signal.SIGTERM))
    saved = newest_complete(stopped.folder)
    assert step_of(saved) == ended.outcome["steps"] // whole.epochs
    assert owes_evaluation(read_state(saved), over_time=False)
    resumed = stopped.attempt()
    assert resumed.outcome, resumed
    expected = [each["validation"] for each in ended.outcome["losses"]]
    assert [each["validation"] for each in resumed.outcome["losses"]] == pytest.approx(expected, abs=1e-3)


def in_two_processes(training, fault):
    """An attempt by two processes, of which the second meets with the fault; both end well."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    alike = {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}

    def attempt(rank):
        def work(faults):
            os.environ.update(alike, MASTER_PORT=str(port), RANK=str(rank), LOCAL_RANK=str(rank))
            with joined_group(120):
                return {"stopped": in_process(training, faults.occasion) is None}

        said = tmp_path_of(training, rank)
        return forked(work, Faults(fault if rank else None, said))

    with ThreadPoolExecutor() as pool:
        ended = list(pool.map(attempt, range(2)))
    assert [each.outcome for each in ended] == [{"stopped": True}] * 2, ended


def tmp_path_of(training, rank):
    """Where a process says what it says."""
    return training.folder.with_name(f"process-{rank}")


def last_child_of(process):
    import psutil

    return psutil.Process(process.pid).children()[-1]


def joined(rows):
    return {"ids": [row["id"] for row in rows], "labels": torch.tensor([row["labels"] for row in rows])}


def shares(numbers, processes):
    rows = [{"id": number, "labels": [-100, number]} for number in numbers]
    return [SharedCollator(joined, ProcessGroup(rank, processes))(rows) for rank in range(processes)]


def test_rows_of_a_batch_are_divided_over_the_processes_although_they_do_not_divide():
    assert [batch["ids"] for batch in shares([1, 2, 3, 4, 5], 3)] == [[1, 4], [2, 5], [3]]


def test_a_process_without_a_row_takes_part_with_one_that_the_loss_ignores():
    first, second, third = shares([1, 2], 3)
    assert [batch["labels"].tolist() for batch in (first, second)] == [[[-100, 1]], [[-100, 2]]]
    assert third["ids"] == [1]
    assert third["labels"].tolist() == [[-100, -100]]


def config(tmp_path, tiny, gpus):
    return TrainEvaluateRun(tmp_path, tiny, training={"gpusPerNode": gpus}).config(Stage.TRAIN)


def test_more_gpus_than_the_node_has_are_refused_with_what_to_write_instead(tmp_path, tiny):
    with pytest.raises(UserError) as refused:
        this_node(config(tmp_path, tiny, 8), 2, {})
    assert refused.value.message.startswith(
        "training.gpusPerNode is 8, and this machine has 2 GPUs. Set it to 2, or train on a machine with 8 GPUs"
    )
    with pytest.raises(UserError, match=r"no GPU that can be used\. Set it to 1,"):
        this_node(config(tmp_path, tiny, 2), 0, {})


def test_a_node_without_visible_gpus_by_choice_has_processes_on_its_cpu(tmp_path, tiny):
    node = this_node(config(tmp_path, tiny, 2), 0, {"CUDA_VISIBLE_DEVICES": ""})
    assert (node.processes, node.has_gpus, node.is_first) == (2, False, True)


def logs(tmp_path, text):
    for start, line in ((0, "of an earlier start: NCCL error"), (1, text)):
        file = tmp_path / "x" / f"attempt_{start}" / "0" / "stderr.log"
        file.parent.mkdir(parents=True)
        file.write_text(line + "\n")
    return tmp_path


NCCL = (
    "[rank1]:[E1129 ProcessGroupNCCL.cpp:683] [Rank 1] Watchdog caught collective operation timeout:"
    " WorkNCCL(SeqNum=12, OpType=ALLREDUCE, Timeout(ms)=600000) ran for 600009 milliseconds before timing out."
)


@pytest.mark.parametrize(
    ("said", "codes", "reason", "message"),
    [
        ("", {3: -9}, Reason.OUT_OF_MEMORY, "Process 3 of 4 was killed, most likely because memory was exhausted."),
        ("", {3: -9, 1: -9}, Reason.OUT_OF_MEMORY, "Processes 1, 3 of 4 were killed"),
        (NCCL, {1: -6}, Reason.TRAINING_FAILED, "longer than training.progressTimeout allows (a time-out of NCCL or"),
        (NCCL, {1: -6}, Reason.TRAINING_FAILED, "OpType=ALLREDUCE"),
        ("Timed out waiting 1800000ms for recv operation to complete", {0: 1}, Reason.TRAINING_FAILED, "time-out of"),
        ("pair.cc:545 Connection closed by peer", {0: 1}, Reason.TRAINING_FAILED, "lost the connection to each other"),
        ("Bus error", {0: -7}, Reason.TRAINING_FAILED, "ended: process 0 with SIGBUS (Bus error)."),
        ("", {0: 17}, Reason.TRAINING_FAILED, "ended: process 0 with exit code 17."),
    ],
)
def test_why_processes_were_lost_is_named(tmp_path, said, codes, reason, message):
    error = lost_processes(codes, NODE, logs(tmp_path, said))
    assert error.reason is reason
    assert message in error.message


def test_the_first_result_is_the_outcome_of_all_processes(tmp_path):
    outcome = Outcome(tmp_path / "outcomes" / "a.json")
    assert not outcome.is_known
    for message in ("the first", "what followed from it"):
        outcome.record(StageResult(stage="train", folder="train-0", state=StageOutcome.FAILED, message=message))
    assert json.loads(outcome.path.read_text())["message"] == "the first"
    forget_earlier(outcome)
    assert list(outcome.path.parent.iterdir()) == []
