"""Where and how a stage's container runs."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from distillery_api.base import ApiModel, NotIdentity, OpenModel, Rule
from distillery_api.spec.durations import Duration
from distillery_api.spec.fields import Quantity, ShortName

RESERVED_LABEL_PREFIXES = ("app.kubernetes.io/", "distillery.dev/", "batch.kubernetes.io/")


class Resources(ApiModel):
    """Compute resources of the container, as in a Pod."""

    requests: Annotated[dict[str, Quantity], Field(max_length=20)] | None = None
    """Resources that the scheduler reserves for the container."""
    limits: Annotated[dict[str, Quantity], Field(max_length=20)] | None = None
    """Maximum resources that the container may use, for example `nvidia.com/gpu: 1`."""


def _no_label_is_reserved(metadata: TemplateMetadata) -> bool:
    return not any(key.startswith(RESERVED_LABEL_PREFIXES) for key in metadata.labels or {})


class TemplateMetadata(ApiModel):
    """Labels and annotations to add to the Pods."""

    labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=50)] | None = None
    """Labels to add. Keys under app.kubernetes.io/, distillery.dev/ and batch.kubernetes.io/ are reserved."""
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=50)] | None = None
    """Annotations to add."""

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
    """A container of the Pod: `stage` is the generated one, any other name adds a container."""

    name: ShortName
    """Name of the container. `stage` is the generated one."""
    command: Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(max_length=64)] | None = None
    """Command of an added container. Reserved for the container `stage`."""
    args: Annotated[tuple[Annotated[str, Field(max_length=4096)], ...], Field(max_length=64)] | None = None
    """Arguments of an added container. Reserved for the container `stage`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.name != 'stage' || (!has(self.command) && !has(self.args))",
            "command and args of the container stage are reserved; remove them, or use a container with another name",
            _command_of_the_stage_is_ours,
        ),
    )


def _restart_policy_is_ours(spec: TemplateSpec) -> bool:
    return spec.restart_policy is None


class TemplateSpec(OpenModel):
    """A partial PodSpec, merged over the generated one. Lists of named items are merged by name."""

    restart_policy: Annotated[str, Field(max_length=20)] | None = None
    """Reserved; must not be set."""
    containers: Annotated[tuple[TemplateContainer, ...], Field(max_length=10)] | None = None
    """Containers, merged by name with the generated container `stage`."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.restartPolicy)",
            "restartPolicy is reserved; remove it: the operator decides when a stage runs again",
            _restart_policy_is_ours,
        ),
    )


class PodTemplate(ApiModel):
    """A partial PodTemplateSpec, merged over the generated one: node selector, tolerations, volumes, priority class,
    service account and so on."""

    metadata: TemplateMetadata | None = None
    """Labels and annotations of the Pod."""
    spec: TemplateSpec | None = None
    """Fields of the PodSpec."""


class StageOptions(ApiModel):
    """Where and how a container runs. Changing these fields does not run a finished stage again."""

    image: Annotated[Annotated[str, Field(min_length=1, max_length=512)] | None, NotIdentity] = None
    """Container image. Default: the image that the operator is configured with."""
    resources: Annotated[Resources | None, NotIdentity] = None
    """Compute resources of the container. CPU and memory that are neither requested nor limited here get a small
    request, whatever else is given, and memory of a stage a limit of 2Gi (generate) or 32Gi (train, evaluate). Default:
    these requests, no GPU; for evaluation, the resources of training, with its node selector, tolerations and affinity;
    `{}` gives evaluation the small requests."""
    pod_template: Annotated[PodTemplate | None, NotIdentity] = None
    """Partial PodTemplateSpec, merged over the generated one, whose node selector is kubernetes.io/os: linux. Default:
    none."""


class JobOptions(StageOptions):
    """Where, how and for how long a stage's Job runs. Changing these fields does not run a finished stage again."""

    timeout: Annotated[Duration | None, NotIdentity] = None
    """Maximum time for which one attempt runs, such as 12h or 90m; the wait for a node does not count. An attempt that
    takes longer is stopped, what it has saved is kept, and the Distillation is Stalled (DeadlineExceeded). Default:
    none."""
    progress_timeout: Annotated[Duration | None, NotIdentity] = None
    """Maximum time without progress, such as 30m. An attempt that hangs for longer is ended and tried again; loading a
    model is progress, and so is each reply and each training step. Default: 2h."""
    max_attempts: Annotated[Annotated[int, Field(strict=True, ge=1, le=100)] | None, NotIdentity] = None
    """Number of failed attempts in a row, none of which got further than those before, after which the Distillation is
    Stalled. Attempts that were evicted, preempted, stopped or lost with their node do not count, nor do short ones that
    found a server unreachable. Default: 5."""
