"""Students of a quarter and a half of the train rows, for the learning curve of the evaluation.

They are trained here rather than in the train stage, so that asking for a learning curve leaves the student as it is.
Each is a unit that a killed stage resumes: its training from the last checkpoint, its replies from those that are
stored; one that has replied to all rows is not trained again, and its model is deleted.
"""

from __future__ import annotations

import gc
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from distillery_api.evaluation import LearningCurve
from distillery_api.formatting import shortened
from distillery_api.paths import StageFolder
from distillery_api.run_config import RunConfig
from distillery_api.runtime.atomic_files import make_folder
from distillery_api.spec import Training
from distillery_api.stage import Stage
from distillery_trainer.evaluation.findings import train_result
from distillery_trainer.evaluation.learning_curve import FEWEST_TRAIN_ROWS, PARTS, learning_curve
from distillery_trainer.evaluation.model_replies import ModelReplies
from distillery_trainer.evaluation.model_requests import SystemRequests
from distillery_trainer.evaluation.systems import HeldOutRows, ScoredAnswer, System, score_replies
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.stages.encoded_rows import EncodedRows, encode_rows
from distillery_trainer.stages.student_training import base_model, make_student
from distillery_trainer.student.chosen_settings import as_trained
from distillery_trainer.student.model_folder import ModelFolder, open_folder
from distillery_trainer.tasks import TaskDefinition

_PROBLEM_LIMIT = 400
"""Bytes."""


@dataclass
class PartialStudents:
    """Trains the students, and lets them reply to the held-out rows."""

    config: RunConfig
    """Of the evaluate stage."""
    task: TaskDefinition
    rows: HeldOutRows
    models: Callable[[], ModelReplies]
    """Lets one model reply to the rows."""
    progress: ProgressReporter

    def learning_curve(self, student: Sequence[ScoredAnswer]) -> LearningCurve:
        """The learning curve up to the student of all rows, which has given these answers.

        A training that fails leaves the evaluation as it is, and the curve says why. Raises Terminated.
        """
        make_folder(self._folder.path, private=True)
        try:
            curve = self._curve(student)
        except UserError as error:
            curve = LearningCurve(problem=shortened(str(error), _PROBLEM_LIMIT))
        shutil.rmtree(self._folder.path, ignore_errors=True)
        return curve

    def _curve(self, student: Sequence[ScoredAnswer]) -> LearningCurve:
        whole = len(self._encoded.train)
        if whole < FEWEST_TRAIN_ROWS:
            return LearningCurve(problem=f"{whole} train rows are too few; it takes {FEWEST_TRAIN_ROWS}")
        answers = [*(self._answers(part) for part in PARTS), student]
        counts = [*(len(self._some(part).train) for part in PARTS), whole]
        return learning_curve(counts, [[scored.score for scored in each] for each in answers])

    def _answers(self, part: str) -> list[ScoredAnswer]:
        """The answers of the student of some of the rows, which is trained only where any reply is missing."""
        prompts = [row.studentPrompt for row in self.rows.rows]
        requests = SystemRequests(System.STUDENT, prompts, self.task.student_max_tokens, variant=part)
        replies = self.models().replies([requests], lambda: self._student(part))[System.STUDENT]
        shutil.rmtree(self._part_config(part).stage_folder.path, ignore_errors=True)
        return score_replies(self.task, replies, self.rows)

    def _student(self, part: str) -> ModelFolder:
        config = self._part_config(part)
        model = config.stage_folder.model
        if not model.exists():
            gc.collect()  # the models that replied before are no longer needed
            make_student(config, self._base, self._some(part), self.progress)
        return open_folder(model, str(model))

    @cached_property
    def _base(self) -> ModelFolder:
        return base_model(self.config.model_copy(update={"base_folder": None}))

    @cached_property
    def _encoded(self) -> EncodedRows:
        return encode_rows(
            self.config, self._base, self.config.input_folder(Stage.GENERATE), self._folder, self.progress
        )

    def _some(self, part: str) -> EncodedRows:
        return self._encoded.first_part(PARTS[part])

    @property
    def _folder(self) -> StageFolder:
        return self.config.paths.stage(self.config.stage_folder.learning_curve)

    def _part_config(self, part: str) -> RunConfig:
        """As many steps as the student could take, and as many without gain, in a folder of its own."""
        training, times = self._training, PARTS[part]
        patience = training.epochs_without_gain and training.epochs_without_gain * times
        return self.config.model_copy(
            update={
                "folder": f"{self.config.stage_folder.learning_curve}/{part}",
                "training": training.model_copy(
                    update={"epochs": (training.epochs or 1) * times, "epochs_without_gain": patience}
                ),
                "micro_batches": math.gcd(self.config.micro_batches, training.batch_size or 1),
                "base_folder": None,
            }
        )

    @cached_property
    def _training(self) -> Training:
        """The student's own training, with what was chosen for all of its rows."""
        result = train_result(self.config)
        return as_trained(self.config.training, result.training.settings if result and result.training else None)
