"""Where and how a stage's container runs."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from distillery_api.base import ApiModel, NotIdentity, OpenModel, Rule
from distillery_api.spec.fields import Quantity, ShortName

RESERVED_LABEL_PREFIXES = ("app.kubernetes.io/", "distillery.dev/", "batch.kubernetes.io/")


class Resources(ApiModel):
    """Compute resources of the stage's container, as in a Pod."""

    requests: Annotated[dict[str, Quantity], Field(max_length=20)] | None = None
    """What the scheduler sets aside."""
    limits: Annotated[dict[str, Quantity], Field(max_length=20)] | None = None
    """What the container may use at most, for instance `nvidia.com/gpu: 1`."""


def _no_label_is_reserved(metadata: TemplateMetadata) -> bool:
    return not any(key.startswith(RESERVED_LABEL_PREFIXES) for key in metadata.labels or {})


class TemplateMetadata(ApiModel):
    """Labels and annotations added to the stage's Pods."""

    labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=50)] | None = None
    """Added to the Pod. Labels under app.kubernetes.io/, distillery.dev/ and batch.kubernetes.io/ are reserved."""
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=50)] | None = None
    """Added to the Pod."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.labels) || self.labels.all(k, !k.startsWith('app.kubernetes.io/')"
            " && !k.startsWith('distillery.dev/') && !k.startsWith('batch.kubernetes.io/'))",
            "labels: keys under app.kubernetes.io/, distillery.dev/ and batch.kubernetes.io/ are reserved; use a prefix"
            " of your own",
            _no_label_is_reserved,
        ),
    )


def _command_of_the_stage_is_ours(container: TemplateContainer) -> bool:
    return container.name != "stage" or (container.command is None and container.args is None)


class TemplateContainer(OpenModel):
    """A container of the Pod: the stage's own when it is named `stage`, else one added beside it."""

    name: ShortName
    """Name of the container; `stage` is the generated one."""
    command: Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(max_length=64)] | None = None
    """Reserved for the container `stage`."""
    args: Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(max_length=64)] | None = None
    """Reserved for the container `stage`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.name != 'stage' || (!has(self.command) && !has(self.args))",
            "command and args of the container stage are reserved; remove them, or use a container of another name",
            _command_of_the_stage_is_ours,
        ),
    )


def _restart_policy_is_ours(spec: TemplateSpec) -> bool:
    return spec.restart_policy is None


class TemplateSpec(OpenModel):
    """A partial PodSpec, merged over the generated one; lists of named things are merged by name."""

    restart_policy: Annotated[str, Field(max_length=20)] | None = None
    """Reserved."""
    containers: Annotated[tuple[TemplateContainer, ...], Field(max_length=10)] | None = None
    """Containers, merged by name over the generated container `stage`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.restartPolicy)",
            "restartPolicy is reserved; remove it: the stage decides when it runs again",
            _restart_policy_is_ours,
        ),
    )


class PodTemplate(ApiModel):
    """A partial PodTemplateSpec, merged over the generated one by container name: node selectors, tolerations, volumes,
    priority class, service account and the like."""

    metadata: TemplateMetadata | None = None
    """Labels and annotations of the Pod."""
    spec: TemplateSpec | None = None
    """Fields of the Pod."""


class StageOptions(ApiModel):
    """Where and how a stage's container runs. None of this changes a result, so none of it runs a stage again."""

    image: Annotated[Annotated[str, Field(min_length=1, max_length=512)] | None, NotIdentity] = None
    """Container image. Default: the operator's."""
    resources: Annotated[Resources | None, NotIdentity] = None
    """Compute resources. Default: a small request of CPU and memory, no GPU."""
    pod_template: Annotated[PodTemplate | None, NotIdentity] = None
    """A partial PodTemplateSpec, merged over the generated one."""
