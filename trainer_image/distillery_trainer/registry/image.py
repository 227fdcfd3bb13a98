"""An image of layers: its configuration and its manifest, as the OCI image specification has them.

https://github.com/opencontainers/image-spec
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distillery_trainer.registry.layers import Layer

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Document:
    """A small piece of an image, as the bytes that its digest is over."""

    content: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the content, such as sha256:9f86…"""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    @property
    def size(self) -> int:
        """Length, in bytes."""
        return len(self.content)

    def __iter__(self) -> Any:
        yield self.content


@dataclass(frozen=True)
class Image:
    """Configuration, layers and manifest."""

    layers: tuple[Layer, ...]
    config: Document
    manifest: Document

    @property
    def digest(self) -> str:
        """The digest by which the image is pulled."""
        return self.manifest.digest


def image_of(layers: Sequence[Layer], annotations: Mapping[str, str]) -> Image:
    """The image of these layers; reads all files for their digests. Raises OSError.

    It holds files alone, which suit every machine; the configuration must name one architecture nevertheless.
    """
    config = _document(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": dict(annotations)},
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        }
    )
    manifest = _document(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor(_CONFIG_TYPE, config),
            "layers": [_descriptor(_LAYER_TYPE, layer) for layer in layers],
            "annotations": dict(annotations),
        }
    )
    return Image(tuple(layers), config, manifest)


def _descriptor(media_type: str, blob: Document | Layer) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": blob.digest, "size": blob.size}


def _document(content: Mapping[str, Any]) -> Document:
    return Document(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())
