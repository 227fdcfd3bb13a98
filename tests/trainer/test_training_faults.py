"""A training that is killed, stopped, damaged or out of space goes on as if nothing had happened, or says what did.

FAULT_SEED tries other kills than the usual ones.
"""

import contextlib
import os
import signal
import weakref
from dataclasses import replace
from random import Random

import pytest
import torch

from distillery_api.stage import Stage
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.stages import train as train_stage
from distillery_trainer.stages.less_memory import OutOfMemory, in_less_memory
from distillery_trainer.student.checkpoints import newest_complete
from distillery_trainer.student.grace_period import GracePeriod
from distillery_trainer.student.loss_watch import Diverged, NonFiniteFirstLoss, NonFiniteLoss, check_divergence
from distillery_trainer.student.training_loop import train
from distillery_trainer.student.training_monitor import TrainingMonitor
from tiny_model import write_tiny_model
from tiny_training import Fault, Faults, TinyTraining, forked, setup_of
from train_evaluate_run import TrainEvaluateRun

SEED = int(os.environ.get("FAULT_SEED", "1"))
KILLS = 5
TRAININGS = {
    "dropout": {"dropout": 0.3},
    "micro-batches": {"dropout": 0.3, "micro_batches": 2},
    "all weights": {"rank": None, "learning_rate": 0.003},
    "early stopping by score": {
        "dropout": 0.2,
        "rows": 200,
        "batch_size": 8,
        "epochs": 9,
        "epochs_without_gain": 2,
        "scored": True,
    },
}
DROPOUT = {"dropout": 0.3, "micro_batches": 2, "rows": 14, "epochs": 2}
"""Eight steps of two micro-batches."""


def same(outcome):
    """An outcome but for the rounding of how losses are added up."""
    losses = [
        {name: value and pytest.approx(value, abs=1e-5) for name, value in each.items()} for each in outcome["losses"]
    ]
    return {**outcome, "train_loss": pytest.approx(outcome["train_loss"], abs=1e-5), "losses": losses}


@pytest.mark.parametrize("kind", TRAININGS)
def test_training_that_is_killed_five_times_at_random_ends_as_one_that_never_was(kind, tmp_path):
    whole = TinyTraining(tmp_path / "whole", **TRAININGS[kind]).attempt()
    killed, random, story = TinyTraining(tmp_path / "killed", **TRAININGS[kind]), Random(SEED), []
    for _ in range(KILLS):
        at = random.choice([event for event, number in whole.events.items() if number])
        story.append(Fault(at, random.randint(1, max(1, whole.events[at] // 2))))
        ended = killed.attempt(story[-1])
        assert ended.signal in (0, signal.SIGKILL), (story, ended)
    ended = killed.attempt()
    assert ended.outcome == same(whole.outcome), (story, ended)


def test_training_that_is_killed_while_a_checkpoint_is_written_keeps_the_one_before(tmp_path):
    options = {"rows": 8, "epochs": 3}
    whole = TinyTraining(tmp_path / "whole", **options).attempt()
    assert whole.outcome["checkpoint"] == "checkpoint-6", "the checkpoint that is being written is to be the best one"
    for before_end in (1, 8, 15, 22, 29, 36):
        killed = TinyTraining(tmp_path / f"killed-{before_end}", **options)
        assert killed.attempt(Fault("file", whole.events["file"] - before_end)).signal == signal.SIGKILL
        assert newest_complete(killed.folder).name in ("checkpoint-4", "checkpoint-6"), before_end


@pytest.mark.parametrize("at", [("micro-batch", 5), ("validation batch", 1), ("step", 3), ("step", 4)])
def test_stopped_training_keeps_every_completed_step_and_ends_as_one_that_was_not_stopped(at, tmp_path):
    whole = TinyTraining(tmp_path / "whole", **DROPOUT).attempt()
    stopped = TinyTraining(tmp_path / "stopped", **DROPOUT)
    ended = stopped.attempt(Fault(*at, signal.SIGTERM))
    assert (ended.signal, ended.outcome, ended.said) == (0, None, "")
    steps = {"micro-batch": 5, "validation batch": 4, "step": at[1]}[at[0]]
    assert newest_complete(stopped.folder).name == f"checkpoint-{steps}"
    assert stopped.attempt().outcome == same(whole.outcome)


def test_training_that_is_stopped_again_while_it_makes_up_for_an_evaluation_loses_nothing(tmp_path):
    whole = TinyTraining(tmp_path / "whole", **DROPOUT).attempt()
    stopped = TinyTraining(tmp_path / "stopped", **DROPOUT)
    stopped.attempt(Fault("validation batch", 2, signal.SIGTERM))
    stopped.attempt(Fault("validation batch", 1, signal.SIGTERM))
    assert newest_complete(stopped.folder).name == "unevaluated-4"
    stopped.attempt(Fault("validation batch", 2, signal.SIGKILL))
    assert stopped.attempt().outcome == same(whole.outcome)


def test_what_a_stopped_training_cannot_finish_in_time_is_said_once(capsys):
    grace_period = GracePeriod()
    grace_period.micro_batch_took(100)
    grace_period.checkpoint_took(15)
    assert capsys.readouterr().err == ""
    grace_period.checkpoint_took(30)
    grace_period.checkpoint_took(40)
    said = capsys.readouterr().err
    assert said.startswith("A stopped training needs up to 130 seconds here (100 for a micro-batch, 30 to write a")
    assert said.count("\n") == 1


def test_second_stop_request_changes_nothing(tmp_path):
    monitor = TrainingMonitor(lambda done, total: monitor.stop() if done == 3 else None)
    monitor.alive = lambda: monitor.stop() if monitor.stop_requested else None
    training = TinyTraining(tmp_path / "training", **DROPOUT)
    assert train(setup_of(training), monitor) is None
    assert newest_complete(training.folder).name == "checkpoint-3"


def test_damaged_newest_checkpoint_costs_what_came_after_the_one_before(tmp_path):
    whole = TinyTraining(tmp_path / "whole").attempt()
    damaged = TinyTraining(tmp_path / "damaged")
    damaged.attempt(Fault("step", 14))
    newest = newest_complete(damaged.folder)
    assert newest.name == "checkpoint-12"
    (newest / "optimizer.pt").write_bytes((newest / "optimizer.pt").read_bytes()[:-100])
    ended = damaged.attempt()
    assert ended.said == f"The checkpoint {newest} is incomplete or damaged, and is not used.\n"
    assert ended.outcome == same(whole.outcome)
    assert ended.events["step"] == 24 - 10, "it did not go on from the checkpoint after step 10"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rank": 8}, "training.lora.rank 4 instead of 8"),
        ({"learning_rate": 0.01}, "training.learningRate 0.02 instead of 0.01"),
        ({"dropout": 0.1}, "training.lora.dropout 0.0 instead of 0.1"),
        ({"rows": 13}, "another train rows"),
        ({"base_seed": 8}, "another base model"),
    ],
)
def test_checkpoint_of_another_training_is_named_and_not_resumed(change, said, tmp_path):
    training = TinyTraining(tmp_path / "training", rows=12, epochs=2)
    training.attempt(Fault("step", 4))
    other = replace(training, **change)
    ended = other.attempt()
    assert ended.said == (
        f"The checkpoint {training.folder / 'checkpoint-3'} is of a training with {said}, and is not used.\n"
    )
    assert ended.outcome == same(replace(other, folder=tmp_path / "anew").attempt().outcome)


def test_disk_that_is_full_keeps_the_last_checkpoint_and_says_so(tmp_path):
    whole = TinyTraining(tmp_path / "whole", rows=12, epochs=3).attempt()
    full = TinyTraining(tmp_path / "full", rows=12, epochs=3, disk_full_after=5)
    ended = full.attempt()
    assert ended.error.startswith(f"{full.folder} cannot be written: the file is too big. Enlarge the volume")
    assert (
        " GB were free. The last complete one (checkpoint-3) is kept, and the training goes on from it." in ended.error
    )
    assert [path.name for path in full.folder.glob("checkpoint-*")] == ["checkpoint-3"]
    assert replace(full, disk_full_after=None).attempt().outcome == same(whole.outcome)


def test_disk_that_is_full_before_the_first_checkpoint_says_that_there_is_none(tmp_path):
    ended = TinyTraining(tmp_path / "full", rows=12, disk_full_after=1).attempt()
    assert "there is no complete checkpoint yet: the training starts anew." in ended.error


def test_resumed_training_takes_no_more_memory_than_one_that_was_never_killed(tmp_path):
    options = {"rank": None, "hidden_size": 192, "rows": 4, "epochs": 3, "learning_rate": 0.0003}
    whole = TinyTraining(tmp_path / "whole", **options).attempt()
    killed = TinyTraining(tmp_path / "killed", **options)
    killed.attempt(Fault("step", 2))
    resumed = killed.attempt()
    assert resumed.outcome["steps"] == 3
    assert resumed.peak_memory < whole.peak_memory + 15_000, "optimiser and weights take 120 MB"


def test_training_out_of_memory_goes_on_with_smaller_micro_batches_from_its_last_step(tmp_path, capsys):
    training, models, steps = TinyTraining(tmp_path / "training", rows=16, epochs=2), [], []

    def no_memory(model, arguments, named):
        if model.training and len(steps) >= 3 and len(named["input_ids"]) > 1:
            raise torch.OutOfMemoryError

    def attempt(micro_batches, recompute):
        assert all(model() is None for model in models), "the model that did not fit is still in memory"
        setup = replace(setup_of(replace(training, micro_batches=micro_batches)), recompute=recompute)
        setup.model.register_forward_pre_hook(no_memory, with_kwargs=True)
        models.append(weakref.ref(setup.model))
        return train(setup, TrainingMonitor(lambda done, total: steps.append(done)))

    trained = in_less_memory(attempt, 4, 1)
    assert trained.steps == 8
    assert steps == [0, 1, 2, 2, 2, 3, 4, 5, 6, 7, 8], "a step was lost, or made twice"
    whole = TinyTraining(tmp_path / "whole", rows=16, epochs=2).attempt().outcome
    assert trained.validation_loss == pytest.approx(whole["validation_loss"], abs=1e-3)
    assert capsys.readouterr().err.count("The memory is exhausted: the training goes on with") == 2


@pytest.mark.parametrize(
    ("batch_size", "first", "tried"),
    [
        (16, 1, "with 16, 8, 4 and 2 rows at a time"),
        (6, 1, "with 6, 3 and 1 rows at a time"),
        (4, 2, "with 2 and 1 rows at a time"),
        (1, 1, "with 1 row at a time"),
    ],
)
def test_memory_that_never_suffices_is_said_with_what_was_tried(batch_size, first, tried):
    def attempt(micro_batches, recompute):
        raise MemoryError

    with pytest.raises(OutOfMemory, match=f"^{tried}$"):
        in_less_memory(attempt, batch_size, first)


def test_what_cannot_be_made_smaller_is_not_tried_again():
    tried = []

    def attempt(micro_batches, recompute):
        tried.append(micro_batches)
        raise OutOfMemory(8, [micro_batches]) if micro_batches == 4 else MemoryError

    with pytest.raises(OutOfMemory, match=r"^with 2 rows at a time$"):
        in_less_memory(attempt, 8, 1)
    assert tried == [1, 2, 4]


# --- the student


def stage_of(run):
    return lambda faults: train_stage.run(run.config(Stage.TRAIN), ProgressReporter(Stage.TRAIN)).training.model_dump(
        mode="json", exclude={"seconds", "losses"}
    )


def test_training_that_is_killed_while_its_student_is_saved_or_reported_is_not_repeated(tmp_path):
    base = write_tiny_model(tmp_path / "base")
    options = {"training": {"batchSize": 6, "learningRate": 0.01, "lora": {"rank": 2}}}
    run = TrainEvaluateRun(tmp_path / "whole", base, **options)
    whole = forked(stage_of(run), Faults(None, run.folder(Stage.TRAIN)))
    assert whole.outcome["steps"] == 2, whole.said
    for before_end in (3, 12, 40):
        run = TrainEvaluateRun(tmp_path / f"killed-{before_end}", base, **options)
        kill = Faults(Fault("file", whole.events["file"] - before_end), run.folder(Stage.TRAIN))
        assert forked(stage_of(run), kill).signal == signal.SIGKILL
        saved = run.folder(Stage.TRAIN) / "model" / "model.safetensors"
        begun = saved.stat().st_mtime_ns if (run.folder(Stage.TRAIN) / "trained.json").exists() else None
        again = forked(stage_of(run), Faults(None, run.folder(Stage.TRAIN)))
        assert again.outcome == whole.outcome, again.said
        assert begun in (None, saved.stat().st_mtime_ns), "the student was saved twice"
        assert not run.folder(Stage.TRAIN).joinpath("checkpoints").exists()


# --- rows


@pytest.mark.parametrize(
    ("positions", "max_length", "remedy"),
    [
        (512, 16, "raise training.maxLength (16), or shorten the rows"),
        (32, 256, "the model has positions for 32 tokens: shorten the rows, or choose another student"),
    ],
)
def test_rows_that_are_all_too_long_are_said_with_the_limit_that_they_break(positions, max_length, remedy, tmp_path):
    base = write_tiny_model(tmp_path / "base", max_position_embeddings=positions)
    run = TrainEvaluateRun(tmp_path / "run", base, training={"maxLength": max_length})
    with pytest.raises(UserError) as error:
        stage_of(run)(None)
    assert error.value.message == (
        f"All train rows are untrainable: 12 of 12 are rejected as too_long; {remedy} ({base})."
    )


# --- the end of its time

BRIEF = {"max_seconds": 900, "rows": 22, "dropout": 0.2}
"""Six steps an epoch; the time is over after nine."""


def test_training_whose_time_is_over_is_evaluated_and_ends_with_its_best_checkpoint(tmp_path):
    ended = TinyTraining(tmp_path / "training", **BRIEF).attempt().outcome
    assert (ended["steps"], ended["planned_steps"], ended["is_over_time"]) == (9, 24, True)
    assert len(ended["losses"]) == 2
    best = min(each["validation"] for each in ended["losses"])
    assert ended["validation_loss"] == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("fault", [Fault("step", 8), Fault("validation batch", 2, signal.SIGTERM)])
def test_training_whose_time_is_over_ends_there_also_after_a_fault(fault, tmp_path):
    whole = TinyTraining(tmp_path / "whole", **BRIEF).attempt()
    killed = TinyTraining(tmp_path / "killed", **BRIEF)
    assert killed.attempt(fault).outcome is None
    assert killed.attempt().outcome == same(whole.outcome)
    assert killed.attempt().outcome == same(whole.outcome), "its time was not over any longer"


def test_training_that_ends_by_itself_is_not_over_time(tmp_path):
    ended = TinyTraining(tmp_path / "training", rows=8, epochs=2, max_seconds=400).attempt().outcome
    assert (ended["steps"], ended["is_over_time"]) == (4, False)


# --- losses


def setup_with_unreadable_token(folder, token):
    """A training whose base model gives no number for rows with one token."""
    setup = setup_of(TinyTraining(folder))
    embeddings = setup.model.get_input_embeddings()
    embeddings.register_forward_hook(
        lambda layer, ids, output: output.masked_fill((ids[0] == token).unsqueeze(-1), float("nan"))
    )
    return setup


def test_loss_that_is_not_a_number_is_said_with_step_and_rows(tmp_path):
    setup = setup_with_unreadable_token(tmp_path / "training", 500 + 7)  # the prompt of row 7 has it
    with pytest.raises(NonFiniteLoss) as error:
        train(setup, TrainingMonitor(lambda done, total: None))
    assert str(error.value) == "the loss is nan at step 3 (rows row-7, row-8, row-16, row-20)"


def test_loss_of_a_broken_base_model_blames_no_learning_rate(tmp_path):
    setup = setup_with_unreadable_token(tmp_path / "training", 1)
    with pytest.raises(NonFiniteFirstLoss, match="the loss is nan at step 1 ") as error:
        train(setup, TrainingMonitor(lambda done, total: None))
    assert "learningRate" not in error.value.remedy


@pytest.mark.parametrize(
    ("losses", "diverged"),
    [
        ([1.0, 3.5, 4.0, 5.0, 6.0, 7.0], True),
        ([1.0, 3.5, 4.0, 5.0, 6.0], False),
        ([1.0, 8.0, 9.0, 2.9, 8.0, 9.0], False),
        ([0.01, 1.5, 1.5, 1.5, 1.5, 1.5], False),
        ([0.01, 2.1, 2.1, 2.1, 2.1, 2.1], True),
        ([10.8, 11.0, 11.0, 11.0, 11.0, 11.0, 11.0], False),
        ([2.0, 0.1, 0.1, 6.1, 6.1, 6.1, 6.1, 6.1], True),
        ([3.0], False),
    ],
)
def test_training_has_diverged_where_the_losses_of_fifty_steps_are_far_above_the_first(losses, diverged):
    expected = pytest.raises(Diverged, match=r"until step [68]0") if diverged else contextlib.nullcontext()
    with expected:
        check_divergence([(10 * number, loss) for number, loss in enumerate(losses, start=1)])
