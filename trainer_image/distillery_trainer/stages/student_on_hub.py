"""The student, its system prompt and its card with the scores in a repository of the Hugging Face Hub."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from distillery_api.run_config import RunConfig
from distillery_api.spec import Hub
from distillery_api.stage import Stage
from distillery_trainer.hub.failures import refused
from distillery_trainer.hub.push import push
from distillery_trainer.stages.pushed_student import PushedStudent
from distillery_trainer.student.model_digest import MODEL_CARD

_VARIABLE = "HF_TOKEN"


def push_to_hub(
    config: RunConfig, wanted: Hub, files: Mapping[str, Path], uploaded: Callable[[int, int], None]
) -> PushedStudent:
    """Push the student's files, by name, as a commit, which is referred to by hf://ORG/NAME@COMMIT; `uploaded` is told
    how many bytes of how many are there.

    Raises StageError, and OSError where a file cannot be read.
    """
    scored = config.input_folder(Stage.EVALUATE).model_card
    on_hub = {**files, MODEL_CARD: scored} if scored.exists() else files
    pushed = push(wanted, _token(wanted), on_hub, f"{config.name}: student {config.train_hash}", uploaded)
    said = f"{pushed.new_files} of {len(on_hub)} files are new" if pushed.is_new else "it was there"
    return PushedStudent(f"{wanted.uri}@{pushed.commit}", said)


def _token(wanted: Hub) -> str:
    token = os.environ.get(_VARIABLE, "").strip()
    if not token:
        raise refused(
            wanted,
            f"the Secret {wanted.credentials.secret_name} has no key {_VARIABLE}; put a token there that may write to"
            " the repository.",
        )
    return token
