"""The student as an OpenAI-compatible server behind a Service with a stable name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from distillery_operator.manifests.child_metadata import Manifest, child_labels, owned_metadata
from distillery_operator.manifests.model_server import (
    GRACE_SECONDS,
    PRE_STOP_SECONDS,
    model_folder,
    model_server,
)
from distillery_operator.manifests.pod_template import (
    WORKSPACE_VOLUME,
    GeneratedContainer,
    VolumeUse,
    dry_run_pod,
    pod_template,
    workspace_volume,
)
from distillery_operator.manifests.probes import server_probes
from distillery_operator.manifests.server_modules import (
    module_annotations,
    module_environment,
    module_mounts,
    module_volumes,
)
from distillery_operator.manifests.settings import ManifestSettings
from distillery_operator.planning import names
from distillery_operator.planning.identity import digest
from distillery_operator.planning.plan import Plan

_OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
"""The model is on the volume; nothing has to be downloaded."""

UNKNOWN_PRECISION = "auto"
"""Before the evaluation: the server chooses."""


@dataclass(frozen=True)
class ServedModel:
    """The student that is served: the newest, or an earlier one until the newest is trained."""

    train_hash: str
    model_path: str
    """Folder of the model, relative to the workspace."""
    student_prompt: str
    """File with its system prompt, relative to the workspace."""
    precision: str = UNKNOWN_PRECISION
    """Arithmetic in which it was evaluated, such as bfloat16."""

    @classmethod
    def planned(cls, plan: Plan, train_hash: str, precision: str | None = None) -> ServedModel:
        """The student that `plan` results in."""
        return cls(train_hash, plan.model_path, plan.student_prompt_path, precision or UNKNOWN_PRECISION)


def serving_deployment(plan: Plan, settings: ManifestSettings, served: ServedModel, volume: VolumeUse) -> Manifest:
    """The Deployment that serves `served`."""
    labels = child_labels(plan, names.SERVING_COMPONENT, input_hash=served.train_hash)
    spec: Manifest = {
        "replicas": plan.spec.serving.replicas,
        "revisionHistoryLimit": 2,
        "progressDeadlineSeconds": settings.progress_deadline_seconds,
        "strategy": _strategy(volume),
        "selector": {"matchLabels": names.serving_labels(plan.name)},
        "template": _serving_template(plan, settings, served, labels),
    }
    metadata = owned_metadata(plan, names.serving_name(plan.name), labels)
    annotations = {
        names.MODEL_PATH_ANNOTATION: served.model_path,
        names.STUDENT_PROMPT_ANNOTATION: served.student_prompt,
        names.PRECISION_ANNOTATION: served.precision,
        names.DIGEST_ANNOTATION: digest(spec["template"]),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata | {"annotations": annotations},
        "spec": spec,
    }


def server_digest(deployment: Manifest) -> str:
    """Which server a Deployment's manifest describes: a digest of its Pod template, whatever the number of Pods."""
    return str(deployment["metadata"]["annotations"][names.DIGEST_ANNOTATION])


def serving_service(plan: Plan) -> Manifest:
    """The Service in front of the Deployment."""
    labels = child_labels(plan, names.SERVING_COMPONENT)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owned_metadata(plan, names.serving_name(plan.name), labels),
        "spec": {
            "selector": names.serving_labels(plan.name),
            "ports": [{"name": "http", "port": names.SERVING_PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def serving_pod(plan: Plan, settings: ManifestSettings, served: ServedModel) -> Manifest:
    """The Pod that the Deployment would create, for a dry run."""
    labels = child_labels(plan, names.SERVING_COMPONENT, input_hash=served.train_hash)
    return dry_run_pod(plan, names.serving_name(plan.name), _serving_template(plan, settings, served, labels))


def _strategy(volume: VolumeUse) -> Manifest:
    """If only one node can mount the volume, a second server may never start, so the first one is stopped before."""
    if not volume.shared:
        return {"type": "Recreate"}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def _serving_template(plan: Plan, settings: ManifestSettings, served: ServedModel, labels: dict[str, str]) -> Manifest:
    base: Manifest = {"terminationGracePeriodSeconds": GRACE_SECONDS}
    return pod_template(_server_container(plan, settings, served), plan.spec.serving, labels, settings, base)


def _server_container(plan: Plan, settings: ManifestSettings, served: ServedModel) -> GeneratedContainer:
    name = names.served_model_name(plan.name)
    server = model_server(plan.spec.serving, name, served.precision, settings)
    mount = {"name": WORKSPACE_VOLUME, "mountPath": model_folder(name), "subPath": served.model_path, "readOnly": True}
    return GeneratedContainer(
        command=server.command,
        image=server.image,
        mounts=(mount, *module_mounts(server.modules)),
        volumes=(workspace_volume(plan), *module_volumes(server.modules)),
        requests=dict(server.requests),
        environment=_variables({**_OFFLINE, **server.environment, **module_environment(server.modules)}),
        annotations=module_annotations(server.modules),
        further_fields={
            "ports": [{"name": "http", "containerPort": names.SERVING_PORT}],
            **server_probes(settings),
            # Requests keep arriving until every proxy knows that this Pod is terminating.
            "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        },
    )


def _variables(values: Mapping[str, str]) -> tuple[Manifest, ...]:
    return tuple({"name": name, "value": value} for name, value in values.items())
