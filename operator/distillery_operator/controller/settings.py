"""The settings of an installation, from environment variables that the Helm chart sets."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from distillery_operator.cluster.leader_election import LeaseTimes
from distillery_operator.core.retry_policy import RetrySettings
from distillery_operator.core.situation import Settings
from distillery_operator.errors import SettingsError
from distillery_operator.manifests.settings import CertificateAuthorities, ManifestSettings

PREFIX = "DISTILLERY_"

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _duration(value: Any) -> Any:
    """Seconds from a Kubernetes duration such as 1h30m."""
    if not isinstance(value, str):
        return value
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise PydanticCustomError("duration", "is not a duration; write 30s, 10m or 1h30m, for example")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _namespaces(value: Any) -> Any:
    """Names from a comma-separated list."""
    if not isinstance(value, str):
        return value
    names = tuple(name for name in (part.strip() for part in value.split(",")) if name)
    for name in names:
        if not _NAMESPACE.fullmatch(name):
            raise PydanticCustomError(
                "namespace", "contains {name}, which is not a valid namespace name", {"name": name}
            )
    return names


def _node_labels(value: Any) -> Any:
    """Labels from JSON, as Helm writes a map."""
    if not isinstance(value, str):
        return value
    try:
        labels = json.loads(value or "{}")
    except ValueError:
        labels = None
    if not isinstance(labels, dict) or not all(isinstance(each, str) for each in labels.values()):
        example = '{"kubernetes.io/arch": "amd64"}'
        raise PydanticCustomError("labels", "is not a JSON object of texts; write {example}", {"example": example})
    return labels


def _own_name() -> str:
    return f"{socket.gethostname()}-{uuid4().hex[:8]}"


def _optional_number(value: Any) -> Any:
    """None from an empty variable, which leaves the choice to the cluster."""
    return None if value == "" else value


Seconds = Annotated[float, BeforeValidator(_duration), Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65_535)]
UserId = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_optional_number)]


class OperatorSettings(BaseModel):
    """Each field is the variable DISTILLERY_<NAME IN CAPITALS>; durations are written as 30s, 10m or 1h30m."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trainer_image: Annotated[str, Field(min_length=1)]
    """Image of the stages."""
    vllm_image: Annotated[str, Field(min_length=1)]
    """Image of the server for the runtime VLLM on a GPU."""
    vllm_cpu_image: Annotated[str, Field(min_length=1)]
    """Image of the server for the runtime VLLM on a CPU."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    run_as_user: UserId = 10001
    """User of all stage containers; empty leaves it to the cluster, as OpenShift requires."""
    fs_group: UserId = 10001
    """Group that owns the workspace; empty leaves it to the cluster."""
    ca_config_map: str = ""
    """ConfigMap with the certificate authorities that the stages trust; empty for the public ones."""
    ca_key: Annotated[str, Field(min_length=1)] = "ca.crt"
    """Key in that ConfigMap."""
    stage_node_selector: Annotated[dict[str, str], BeforeValidator(_node_labels)] = {}
    """Labels that the nodes of stages and servers must have, as a JSON object."""
    listen_address: Literal["0.0.0.0", "::"] = "0.0.0.0"  # noqa: S104 - a Service leads there
    """Address that the servers of students listen on; by default that of the cluster's family of addresses."""
    rollout_deadline: Seconds = 3600
    """How long the server of a new student may take to become ready."""
    rollout_fleet: str = ""
    """A name for a rollout of the fleet: where it is new, every server is moved to the present images and settings, one
    Distillation after the other."""
    stage_grace_period: Seconds = 120
    """How long a stage may take to write its checkpoint when it is stopped."""

    job_ttl: Seconds = 86_400
    """How long the Job of an ended attempt, with its logs, is kept."""
    sidecar_grace_period: Seconds = 60
    """How long the other containers of a Pod may run after its stage."""

    retry_first_delay: Seconds = 10
    retry_longest_delay: Seconds = 300
    retry_deadline: Seconds = 3600
    """How long attempts may fail in a row before the stage is stalled."""
    blocked_deadline: Seconds = 600
    """How long a Pod may be kept from starting before its stage or server is stalled."""
    unschedulable_deadline: Seconds = 3600
    """How long a stage's Pod may find no room beside the served student before the stage is stalled."""

    namespaces: Annotated[tuple[str, ...], BeforeValidator(_namespaces)] = ()
    """Namespaces to watch, separated by commas; empty watches all."""
    operator_namespace: Annotated[str, Field(min_length=1)] = "default"
    """Namespace of the Lease: the operator's own."""
    lease_name: Annotated[str, Field(min_length=1)] = "distillery"
    lease_duration: Seconds = 15
    lease_renew_deadline: Seconds = 10
    lease_retry: Seconds = 2

    identity: Annotated[str, Field(min_length=1, default_factory=_own_name)]
    """Name of this replica: that of its Pod, so that a restarted container need not wait for its own lease to expire.
    No two replicas may share it."""
    workers: Annotated[int, Field(ge=1, le=64)] = 16
    """Maximum number of concurrent reconciliations."""
    resync: Seconds = 600
    """How often every Distillation is reconciled although nothing happened."""
    progress_interval: Seconds = 30
    """Minimum time between two requests to a running stage for its progress."""
    metrics_port: Port = 8080
    """TCP port of /metrics."""
    health_port: Port = 8081
    """TCP port of /healthz."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] = "json"

    @property
    def core(self) -> Settings:
        """The settings that decisions depend on."""
        manifests = ManifestSettings(
            trainer_image=self.trainer_image,
            vllm_image=self.vllm_image,
            vllm_cpu_image=self.vllm_cpu_image,
            image_pull_policy=self.image_pull_policy,
            run_as_user=self.run_as_user,
            fs_group=self.fs_group,
            progress_deadline_seconds=round(self.rollout_deadline),
            stage_grace_seconds=round(self.stage_grace_period),
            stage_node_selector=self.stage_node_selector,
            listen_address=self.listen_address,
            certificate_authorities=(
                CertificateAuthorities(self.ca_config_map, self.ca_key) if self.ca_config_map else None
            ),
        )
        retry = RetrySettings(
            first_delay=timedelta(seconds=self.retry_first_delay),
            longest_delay=timedelta(seconds=self.retry_longest_delay),
            deadline=timedelta(seconds=self.retry_deadline),
            blocked_deadline=timedelta(seconds=self.blocked_deadline),
            unschedulable_deadline=timedelta(seconds=self.unschedulable_deadline),
        )
        return Settings(
            manifests,
            retry,
            fleet_rollout=self.rollout_fleet or None,
            job_ttl=timedelta(seconds=self.job_ttl),
            sidecar_grace=timedelta(seconds=self.sidecar_grace_period),
        )

    @property
    def lease_times(self) -> LeaseTimes:
        """The times of the leader election."""
        return LeaseTimes(
            duration=self.lease_duration,
            renew_deadline=self.lease_renew_deadline,
            retry=self.lease_retry,
            request_timeout=min(5.0, self.lease_renew_deadline / 2),
        )


def read_settings(environment: Mapping[str, str]) -> OperatorSettings:
    """The settings in `environment`. Raises SettingsError with a line for each variable that is invalid or missing."""
    known = {PREFIX + name.upper(): name for name in OperatorSettings.model_fields}
    values = {"listen_address": _listen_address(environment)}
    values |= {known[variable]: value for variable, value in environment.items() if variable in known}
    try:
        settings = OperatorSettings.model_validate(values)
    except ValidationError as error:
        raise SettingsError("\n".join(_message(detail) for detail in error.errors())) from None
    _check_lease_times(settings)
    return settings


def _listen_address(environment: Mapping[str, str]) -> str:
    """Pods have addresses of the same family as the cluster's own Service, which Kubernetes tells every Pod."""
    return "::" if ":" in environment.get("KUBERNETES_SERVICE_HOST", "") else "0.0.0.0"  # noqa: S104 - as above


def _message(error: Any) -> str:
    variable = PREFIX + str(error["loc"][0]).upper()
    if error["type"] == "missing":
        return f"{variable} is not set"
    own_message = error["type"] in ("duration", "namespace", "labels")
    message = error["msg"] if own_message else f"is invalid: {error['msg'][0].lower()}{error['msg'][1:]}"
    return f"{variable}={error['input']!r} {message}"


def _check_lease_times(settings: OperatorSettings) -> None:
    if not settings.lease_retry < settings.lease_renew_deadline < settings.lease_duration:
        raise SettingsError(
            f"{PREFIX}LEASE_RETRY must be shorter than {PREFIX}LEASE_RENEW_DEADLINE, which must be shorter than"
            f" {PREFIX}LEASE_DURATION: a leader must stop before another replica may take over"
        )
