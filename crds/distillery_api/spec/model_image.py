"""The student as an image in a registry, from which the serving Pods take it instead of from the workspace."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from distillery_api.base import ApiModel, matches
from distillery_api.spec.endpoints import PORT
from distillery_api.spec.fields import Flag, ObjectName

_PART = "[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*"
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_HOST = f"(localhost:{PORT}|{_LABEL}(\\.{_LABEL})*:{PORT}|{_LABEL}(\\.{_LABEL})+)"

ImageRepository = Annotated[
    str,
    Field(max_length=255),
    matches(
        f"^{_HOST}(/{_PART})+$",
        "not a repository of a registry; write HOST/PATH in lower case, with a dot or a port in the host and without"
        " scheme, tag and digest, for example registry.example.com/team/student",
    ),
]


class RegistryCredentials(ApiModel):
    """A Secret of the type kubernetes.io/dockerconfigjson in the Distillation's namespace."""

    secret_name: ObjectName
    """Name of the Secret."""


class ModelImage(ApiModel):
    """Where the student is pushed to, and pulled from."""

    repository: ImageRepository
    """Repository of a registry, such as registry.example.com/team/student. The tag is the hash of the training; the
    serving Pods name the image by its digest. Nothing is ever deleted there."""
    credentials: RegistryCredentials | None = None
    """Secret of the type kubernetes.io/dockerconfigjson with a user who may push. Only the Pod of the publish stage
    mounts it. Default: none, for a registry that lets anyone push."""
    pull_secrets: Annotated[tuple[ObjectName, ...] | None, Field(max_length=8)] = None
    """Names of Secrets of that type with which nodes pull the image. Default: that of credentials."""
    plain_http: Annotated[Flag, Field(alias="plainHTTP")] = False
    """Pushes over HTTP without TLS. Nodes need a setting of their own to pull that way. Default: false."""

    @property
    def node_secrets(self) -> tuple[str, ...]:
        """Names of the Secrets that nodes pull with."""
        if self.pull_secrets is not None:
            return self.pull_secrets
        return (self.credentials.secret_name,) if self.credentials else ()

    def reference(self, tag: str) -> str:
        """The image under a tag."""
        return f"{self.repository}:{tag}"

    def holds(self, image: str | None) -> bool:
        """Whether an image, named by its digest, lies in this repository."""
        return image is not None and image.partition("@")[0] == self.repository
