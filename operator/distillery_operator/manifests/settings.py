"""Settings of an installation of the operator that apply to the children of all Distillations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CertificateAuthorities:
    """A ConfigMap with the certificates that the stages trust, in the Distillation's namespace."""

    config_map: str
    key: str


@dataclass(frozen=True)
class ManifestSettings:
    """What the manifests of all Distillations have in common."""

    trainer_image: str
    """Image of the stages, and of serving with the runtime Transformers."""
    vllm_image: str
    """Image of serving with the runtime VLLM on a GPU."""
    vllm_cpu_image: str
    """Image of serving with the runtime VLLM on a CPU."""
    image_pull_policy: str = "IfNotPresent"
    run_as_user: int | None = 10001
    """User of all containers; None leaves it to the cluster, as OpenShift requires."""
    fs_group: int | None = 10001
    """Group that owns the workspace; None leaves it to the cluster."""
    progress_deadline_seconds: int = 3600
    """Seconds until a new student must be ready: loading a large model takes many minutes."""
    stage_grace_seconds: int = 120
    """Seconds for a stage to write a checkpoint when it is stopped."""
    certificate_authorities: CertificateAuthorities | None = None
    """Whom the stages trust; None for the public authorities."""
    listen_address: str = "0.0.0.0"  # noqa: S104 - a Service leads there
    """Address that the servers of students listen on: `::` where the addresses of Pods are those of IPv6."""
    stage_node_selector: Mapping[str, str] = field(default_factory=dict)
    """Labels that the nodes of stages and servers must have, beside that of the operating system."""
