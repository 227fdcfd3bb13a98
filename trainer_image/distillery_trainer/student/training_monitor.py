"""What happens beside a training's steps: progress, checkpoints every few minutes, the end where further epochs gain
nothing, a stop on request, and the end of a training whose loss is no number or keeps far above the first one.

A stop request interrupts the step or the evaluation that is under way, since one may take longer than a Pod has time to
end: neither has changed anything by then. Only the optimiser's update of the weights, and what follows it until the
step is counted, and the writing of a checkpoint go on to their end.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from distillery_api.stage_result import TrainingSettings
from distillery_trainer.processes.process_group import this_group
from distillery_trainer.student.checkpoint_choice import at_end_of_epoch, gains_nothing, owes_evaluation
from distillery_trainer.student.checkpoints import CheckpointNote, checkpoint_path, seal, step_of
from distillery_trainer.student.completed_step import CompletedStep
from distillery_trainer.student.loss_watch import LossWatch

if TYPE_CHECKING:
    from trl import SFTConfig

    from distillery_trainer.student.resumable_trainer import ResumableTrainer

CHECKPOINT_SECONDS = 300.0
"""Maximum time between checkpoints, and so the training time that a kill can cost."""


class Interrupted(BaseException):
    """The training was asked to stop, in the midst of a step or an evaluation; no Exception, so that nothing on the way
    takes it for a failure."""


class EvaluationMadeUp(Exception):
    """The evaluation that an interrupted training owed is done, and its checkpoint written."""


@dataclass
class TrainingMonitor(TrainerCallback):  # type: ignore[misc]
    """Reports progress, saves a checkpoint every few minutes, stops on request, and detects a loss that is not
    finite."""

    report: Callable[[int, int], None]
    """Called with the steps done and the total steps."""
    alive: Callable[[], object] = lambda: None
    """Called whenever something was done, although no step is."""
    clock: Callable[[], float] = time.monotonic
    settings: TrainingSettings | None = None
    """When the training ends early; None if never."""
    max_seconds: float | None = None
    """Time after which the training ends, over all attempts; None if never."""
    note: CheckpointNote = field(default_factory=CheckpointNote)
    """What is noted in the checkpoints; of the one that the training goes on from, how long it has taken so far."""
    losses: LossWatch = field(default_factory=LossWatch)
    stop_requested: bool = False
    saved: Path | None = None
    """The newest complete checkpoint."""
    trainer: ResumableTrainer | None = field(init=False, default=None)
    """The trainer that this monitor is a callback of."""
    is_between_steps: bool = field(init=False, default=True)
    """Whether the weights are those of the last completed step."""
    _interruptible: bool = field(init=False, default=False)
    _completed: CompletedStep | None = field(init=False, default=None)
    _last_save: float = field(init=False)
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        super().__init__()
        self._last_save = self._began = self.clock()

    def stop(self) -> None:
        """Request a checkpoint and the end of the training. May be called from a signal handler. A second request
        changes nothing. Raises Interrupted where nothing keeps the training from being interrupted."""
        self.stop_requested = True
        if self._interruptible:
            self._interruptible = False
            raise Interrupted

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Inside the block a stop request raises Interrupted at once."""
        self._allow_interruption()
        try:
            yield
        finally:
            self._interruptible = False

    def _allow_interruption(self) -> None:
        if self._resumes_between_steps():
            if self.stop_requested:
                raise Interrupted
            self._interruptible = True

    def _resumes_between_steps(self) -> bool:
        """Whether a stop request may interrupt at once: several processes that stop at different moments would wait for
        each other (they stop together, after a step or a batch of validation rows), and another trainer cannot save the
        step before."""
        return self.trainer is not None and this_group().is_alone

    def seconds(self) -> float:
        """How long the training has taken so far, over all attempts, but for what was lost."""
        return self.note.seconds + self.clock() - self._began

    def is_over_time(self) -> bool:
        """Whether the training has taken as long as it may."""
        return self.max_seconds is not None and self.seconds() >= self.max_seconds

    # --- the trainer's events, in their order

    def on_train_begin(self, args: SFTConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Report the total steps, and after a restart the steps done; make up for an evaluation that was
        interrupted. Raises EvaluationMadeUp after that."""
        self._last_save = self._began = self.clock()
        self.report(state.global_step, state.max_steps)
        if self.trainer is not None and self.saved and owes_evaluation(state, over_time=self.is_over_time()):
            self.trainer.evaluate_now(self.saved)
            raise EvaluationMadeUp

    def on_step_begin(self, args: SFTConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Allow interruptions: until the optimiser's update, a step changes no weights."""
        self._allow_interruption()

    def on_substep_end(self, args: SFTConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Say that a micro-batch is done."""
        self.alive()

    def on_pre_optimizer_step(self, args: SFTConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Allow no interruption of the update."""
        self._interruptible = self.is_between_steps = False

    def on_step_end(self, args: SFTConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Report progress; request a checkpoint if one is due. Raises Interrupted."""
        self.is_between_steps = True
        if self.trainer is not None:
            self._completed = CompletedStep.of(self.trainer)
        self.report(state.global_step, state.max_steps)
        if self.stop_requested and self._resumes_between_steps():
            raise Interrupted
        if at_end_of_epoch(state):
            # Evaluation and checkpoint of the epoch come next.
            control.should_log = True
            return
        is_due = self.clock() - self._last_save > CHECKPOINT_SECONDS
        stops, is_over, is_due = this_group().any(self.stop_requested, self.is_over_time(), is_due)
        if is_over and not stops:
            control.should_evaluate = True
        if stops or is_over or is_due:
            control.should_log = control.should_save = True
            control.should_training_stop = stops or is_over

    def on_prediction_step(self, args: SFTConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Say that a batch of validation rows is done."""
        self.alive()

    def on_epoch_end(self, args: SFTConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Skip evaluation and checkpoint of an epoch that ended early: both are done."""
        if not at_end_of_epoch(state):
            control.should_evaluate = control.should_save = False

    def on_save(self, args: SFTConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Seal the checkpoint and note the time; end the training if that was requested, if the last epochs gained
        nothing, or if its time is over."""
        checkpoint = checkpoint_path(Path(args.output_dir or ""), state.global_step)
        this_group().wait()  # each process writes its random state
        this_group().first_decides(partial(seal, checkpoint, self.note.after(self.seconds())))
        self._last_save, self.saved = self.clock(), checkpoint
        ended = self.settings is not None and gains_nothing(state, self.settings)
        control.should_training_stop |= any(this_group().any(self.stop_requested, self.is_over_time())) or ended

    def on_log(
        self, args: SFTConfig, state: TrainerState, control: TrainerControl, logs: dict[str, float], **_: Any
    ) -> None:
        """Raise NonFiniteLoss or Diverged, so that a training that cannot succeed does not continue."""
        self.losses.check(logs, state)

    # --- after an interruption

    def save_completed_step(self) -> bool:
        """Save a checkpoint of the last completed step, unless there is one; whether there is one now."""
        trainer = self.trainer
        if trainer is None or not self.is_between_steps or not trainer.state.global_step:
            return False
        if self._completed is not None and not (self.saved and step_of(self.saved) == trainer.state.global_step):
            self._completed.restore(trainer)
            trainer.save_now()
        return self.saved is not None
