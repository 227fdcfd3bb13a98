"""The publish stage: the student and its system prompt become an OCI image in a registry, from which the serving Pods
take them.

The same student has the same image wherever it is pushed, so running the stage again finds what is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from distillery_api.paths import IMAGE_MODEL_FOLDER, STUDENT_PROMPT_FILE
from distillery_api.reasons import Reason
from distillery_api.run_config import REGISTRY_CREDENTIALS_VARIABLE, RunConfig
from distillery_api.spec import ModelImage
from distillery_api.stage import Stage
from distillery_api.stage_result import StageOutcome, StageResult
from distillery_trainer.registry.credentials import Credentials, InvalidCredentials, read_credentials
from distillery_trainer.registry.image import Image, image_of
from distillery_trainer.registry.layers import LayerFile, files_below, layers_of
from distillery_trainer.registry.push import push
from distillery_trainer.registry.registry_client import RegistryClient, Repository
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.stage_metrics import ProgressReporter

_MEGABYTE = 1_000_000
_ANNOTATION = "distillery.dev"


def run(config: RunConfig, progress: ProgressReporter) -> StageResult:
    """Push the student. Raises StageError."""
    wanted = _wanted(config)
    repository = _repository(wanted)
    client = RegistryClient(repository)
    try:
        image = _image(config, progress)
        size = sum(layer.size for layer in image.layers)
        pushed = push(client, image, _tag(config), lambda done: _report(progress, done, size))
    except OSError as error:
        message = f"The student in the workspace cannot be read: {error}"
        raise UserError(message, reason=Reason.PUBLISH_FAILED) from error
    finally:
        client.close()
    return _result(config, f"{wanted.repository}@{image.digest}", size, pushed)


def _wanted(config: RunConfig) -> ModelImage:
    if config.model_image is None:
        raise UserError("There is no serving.modelImage to push the student to.", reason=Reason.INVALID_SPEC)
    return config.model_image


def _repository(wanted: ModelImage) -> Repository:
    host, _, name = wanted.repository.partition("/")
    secret = wanted.credentials.secret_name if wanted.credentials else None
    credentials = _credentials(secret, host, name) if secret else None
    return Repository(host, name, credentials, secret, plain_http=wanted.plain_http)


def _credentials(secret: str, host: str, name: str) -> Credentials:
    folder = Path(os.environ.get(REGISTRY_CREDENTIALS_VARIABLE, ""))
    try:
        return read_credentials(folder / "config.json", host, name)
    except InvalidCredentials as error:
        message = (
            f"serving.modelImage.credentials: the Secret {secret} cannot be used: {error}. Make it with kubectl create"
            f" secret docker-registry {secret} --docker-server={host} --docker-username=… --docker-password=…, then"
            " annotate the Distillation with distillery.dev/retry-at."
        )
        raise UserError(message, reason=Reason.PUBLISH_FAILED) from error


def _image(config: RunConfig, progress: ProgressReporter) -> Image:
    """The image: the model's files, and the student prompt among them. Raises UserError where there is no model."""
    files = list(_files(config))
    if len(files) < 2:
        folder = config.input_folder(Stage.TRAIN).model
        message = f"{folder} holds no model. Train again: change training.seed, for example."
        raise UserError(message, reason=Reason.PUBLISH_FAILED)
    layers = layers_of(files)
    for layer in layers:
        progress.alive()
        layer.digest  # noqa: B018 - reads the layer once, for minutes if it is large
    return image_of(layers, _annotations(config))


def _files(config: RunConfig) -> Iterator[LayerFile]:
    root = PurePosixPath(IMAGE_MODEL_FOLDER)
    yield from files_below(config.input_folder(Stage.TRAIN).model, root)
    prompt = config.input_folder(Stage.GENERATE).student_prompt
    yield LayerFile(root / STUDENT_PROMPT_FILE, prompt, prompt.stat().st_size)


def _annotations(config: RunConfig) -> dict[str, str]:
    """What the image is, for people and tools that find it in the registry."""
    licences = (config.data.licence, *(teacher.licence for teacher in config.generation.teachers))
    known = "; ".join(dict.fromkeys(each for each in licences if each))
    return {
        "org.opencontainers.image.title": config.name,
        "org.opencontainers.image.description": f"Student for the task {config.task}, distilled by Distillery",
        "org.opencontainers.image.version": _tag(config),
        f"{_ANNOTATION}/base-model": config.student.model.uri,
        **({f"{_ANNOTATION}/licences-of-rows": known} if known else {}),
    }


def _tag(config: RunConfig) -> str:
    """The hash of the training."""
    return config.inputs[Stage.TRAIN].removeprefix(f"{Stage.TRAIN}-")


def _report(progress: ProgressReporter, done: int, size: int) -> None:
    progress.update(min(done, size) // _MEGABYTE, max(size // _MEGABYTE, 1), "MB")
    progress.alive()


def _result(config: RunConfig, reference: str, size: int, pushed: int) -> StageResult:
    uploaded = f"{pushed / _MEGABYTE:,.1f} MB of {size / _MEGABYTE:,.1f} MB uploaded" if pushed else "it was there"
    return StageResult(
        stage=Stage.PUBLISH,
        folder=config.folder,
        state=StageOutcome.DONE,
        message=f"{reference} holds the student ({uploaded})",
        model_image=reference,
    )
