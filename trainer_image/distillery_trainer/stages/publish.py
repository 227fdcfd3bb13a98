"""The publish stage: the student goes where the spec wants it, to a registry as an image and to a model hub.

The same student is the same image and the same commit, so running the stage again finds what is there.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path, PurePosixPath

from distillery_api.paths import SIGNATURE_FILE, STUDENT_PROMPT_FILE, Artefact
from distillery_api.reasons import Reason
from distillery_api.run_config import SIGNING_KEY_VARIABLE, RunConfig
from distillery_api.stage import Stage
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_trainer.registry.layers import files_below
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.stages.student_image import push_image
from distillery_trainer.stages.student_on_hub import push_to_hub
from distillery_trainer.student.model_signature import UnusableKey, sign

_MEGABYTE = 1_000_000


def run(config: RunConfig, progress: ProgressReporter) -> StageResult:
    """Push the student. Raises StageError."""
    uploaded = partial(_report, progress)
    image = on_hub = None
    try:
        signed = {SIGNATURE_FILE: signature} if (signature := _signature(config)) else {}
        files = {**_files(config), **signed}
        if config.model_image:
            image = push_image(config, config.model_image, files, uploaded)
        if config.hub:
            on_hub = push_to_hub(config, config.hub, files, uploaded)
    except OSError as error:
        message = f"The student in the workspace cannot be read: {error}"
        raise UserError(message, reason=Reason.PUBLISH_FAILED) from error
    said = [f"{signature} signs the student"] if signature else []
    places = [f"{each.reference} holds the student ({each.uploaded})" for each in (image, on_hub) if each]
    return StageResult(
        stage=Stage.PUBLISH,
        folder=config.folder,
        state=StageOutcome.DONE,
        message="; ".join([*said, *places]),
        files={Artefact.SIGNATURE: config.paths.relative(signature)} if signature else {},
        model_image=image.reference if image else None,
        hub_revision=on_hub.reference if on_hub else None,
    )


def _signature(config: RunConfig) -> Path | None:
    """The signature of the model's files, where the spec asks for one. Raises UserError."""
    wanted = config.signing_key
    if wanted is None:
        return None
    folder = config.input_folder(Stage.TRAIN)
    try:
        sign(folder.model, os.environ.get(SIGNING_KEY_VARIABLE, ""), folder.signature)
    except (UnusableKey, ImportError) as error:
        no_library = "its library is not installed: the extra `signing` of Distillery, which the trainer's image has"
        why = (
            f"{error} (Secret {wanted.secret_name}, key {wanted.key})" if isinstance(error, UnusableKey) else no_library
        )
        message = f"publication.signingKey: the student cannot be signed: {why}."
        raise UserError(message, reason=Reason.PUBLISH_FAILED) from error
    return folder.signature


def _files(config: RunConfig) -> dict[str, Path]:
    """The model's files and the student prompt, by name. Raises UserError where there is no model."""
    folder = config.input_folder(Stage.TRAIN).model
    files = {each.path.as_posix(): each.source for each in files_below(folder, PurePosixPath())}
    if not files:
        message = f"{folder} holds no model. Train again: change training.seed, for example."
        raise UserError(message, reason=Reason.PUBLISH_FAILED)
    return {**files, STUDENT_PROMPT_FILE: config.input_folder(Stage.GENERATE).student_prompt}


def _report(progress: ProgressReporter, done: int, size: int) -> None:
    progress.update(min(done, size) // _MEGABYTE, max(size // _MEGABYTE, 1), "MB")
    progress.alive()
