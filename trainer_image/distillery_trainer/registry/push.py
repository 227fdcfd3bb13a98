"""Pushes an image: first what the registry does not have of it, then the manifest, so that a tag never names half of
one."""

from __future__ import annotations

from collections.abc import Callable

from distillery_trainer.registry.image import Image
from distillery_trainer.registry.registry_client import Blob, RegistryClient

Uploaded = Callable[[int], None]
"""Is told how many bytes of the layers are in the registry by now."""


def push(client: RegistryClient, image: Image, tag: str, uploaded: Uploaded = lambda _: None) -> int:
    """Push `image` under `tag`, and return how many bytes were uploaded. Running it again after an interruption uploads
    only what is missing. Raises StageError, OSError."""
    done = new = 0
    blobs: tuple[Blob, ...] = (*image.layers, image.config)
    for blob in blobs:
        if not client.has_blob(blob.digest):
            progress = _Progress(done, uploaded)
            client.push_blob(blob, progress.sent)
            new += blob.size
        done += blob.size
        uploaded(done)
    if new or not client.has_manifest(image.digest):
        client.push_manifest(tag, image.manifest)
    return new


class _Progress:
    """The progress within one blob; a second try starts anew."""

    def __init__(self, before: int, uploaded: Uploaded) -> None:
        self._before, self._uploaded, self._sent = before, uploaded, 0

    def sent(self, size: int) -> None:
        self._sent += size
        self._uploaded(self._before + self._sent)
