"""The student and its system prompt as an OCI image in a registry, from which the serving Pods take them.

The same student has the same image wherever it is pushed, so a second push finds what is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from distillery_api.paths import IMAGE_MODEL_FOLDER
from distillery_api.reasons import Reason
from distillery_api.run_config import REGISTRY_CREDENTIALS_VARIABLE, RunConfig
from distillery_api.spec import ModelImage
from distillery_trainer.registry.credentials import Credentials, InvalidCredentials, read_credentials
from distillery_trainer.registry.image import image_of
from distillery_trainer.registry.layers import Layer, LayerFile, layers_of
from distillery_trainer.registry.push import push
from distillery_trainer.registry.registry_client import RegistryClient, Repository
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.stages.pushed_student import PushedStudent

_MEGABYTE = 1_000_000
_ANNOTATION = "distillery.dev"


def push_image(
    config: RunConfig, wanted: ModelImage, files: Mapping[str, Path], uploaded: Callable[[int, int], None]
) -> PushedStudent:
    """Push the student's files, by name, as an image, which is referred to by its digest; `uploaded` is told how many
    bytes of how many are there.

    Raises StageError, and OSError where a file cannot be read.
    """
    client = RegistryClient(_repository(wanted))
    try:
        layers = _layers(files)
        size = sum(layer.size for layer in layers)
        for layer in layers:
            uploaded(0, size)
            layer.digest  # noqa: B018 - reads the layer once, for minutes if it is large
        image = image_of(layers, _annotations(config))
        pushed = push(client, image, config.train_hash, lambda done: uploaded(done, size))
    finally:
        client.close()
    said = f"{pushed / _MEGABYTE:,.1f} MB of {size / _MEGABYTE:,.1f} MB uploaded" if pushed else "it was there"
    return PushedStudent(f"{wanted.repository}@{image.digest}", said)


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


def _layers(files: Mapping[str, Path]) -> tuple[Layer, ...]:
    root = PurePosixPath(IMAGE_MODEL_FOLDER)
    return layers_of(LayerFile(root / name, path, path.stat().st_size) for name, path in files.items())


def _annotations(config: RunConfig) -> dict[str, str]:
    """What the image is, for people and tools that find it in the registry."""
    licences = (config.data.licence, *(teacher.licence for teacher in config.generation.teachers))
    known = "; ".join(dict.fromkeys(each for each in licences if each))
    return {
        "org.opencontainers.image.title": config.name,
        "org.opencontainers.image.description": f"Student for the task {config.task}, distilled by Distillery",
        "org.opencontainers.image.version": config.train_hash,
        f"{_ANNOTATION}/base-model": config.student.model.uri,
        **({f"{_ANNOTATION}/licences-of-rows": known} if known else {}),
    }
