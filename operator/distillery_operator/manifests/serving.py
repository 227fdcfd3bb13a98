"""The student as an OpenAI-compatible server behind a Service with a stable name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from distillery_api.paths import ADAPTERS
from distillery_api.paths import STUDENT_PROMPT_FILE as IMAGE_PROMPT_FILE
from distillery_api.spec import RolloutStrategy, Task
from distillery_operator.manifests.child_metadata import Manifest, child_annotations, child_labels, owned_metadata
from distillery_operator.manifests.model_image import image_mount, image_volume, pull_secrets
from distillery_operator.manifests.model_server import (
    ADAPTERS_FILE,
    ADAPTERS_FOLDER,
    GRACE_SECONDS,
    STUDENT_PROMPT_FILE,
    ModelServer,
    model_folder,
    model_server,
    student_names,
)
from distillery_operator.manifests.pod_template import (
    WORKSPACE_VOLUME,
    GeneratedContainer,
    VolumeUse,
    dry_run_pod,
    pod_template,
    secret_variable,
    workspace_volume,
)
from distillery_operator.manifests.pod_template_merge import merged_map
from distillery_operator.manifests.probes import server_probes
from distillery_operator.manifests.server import ServedModel, Server
from distillery_operator.manifests.server_modules import (
    module_annotations,
    module_environment,
    module_mounts,
    module_volumes,
)
from distillery_operator.manifests.settings import ManifestSettings
from distillery_operator.planning import names
from distillery_operator.planning.adapters import ServedAdapter
from distillery_operator.planning.identity import digest
from distillery_operator.planning.plan import Plan
from distillery_operator.planning.queue import serving_queue_labels
from distillery_operator.planning.server_identity import base_server_identity, server_identity

_ADAPTERS_VOLUME = "adapters"
_SPREAD_OVER = ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
_OFFLINE = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
"""The model is on the volume; nothing has to be downloaded."""


def identity_of(plan: Plan, served: ServedModel) -> str:
    """The identity of the server of `served` that the present spec asks for."""
    return server_identity(
        plan,
        train_hash=served.train_hash,
        model_path=served.model_path,
        precision=served.precision,
        model_image=served.image,
        adapter=served.adapter,
    )


def base_identity_of(plan: Plan, served: ServedModel) -> str | None:
    """The identity of a server that needs no other Pods for `served`, whose adapter it loads; None for a merged
    model."""
    adapter = served.adapter
    if adapter is None:
        return None
    return base_server_identity(plan, base=adapter.base, max_rank=adapter.max_rank, precision=served.precision)


def rendered_server(plan: Plan, settings: ManifestSettings, served: ServedModel) -> Server:
    """The server of `served` as the present spec, settings and release would make it."""
    of_student = {} if served.adapter else {"input_hash": served.train_hash}
    labels = child_labels(plan, names.SERVING_COMPONENT, **of_student)
    template = _serving_template(plan, settings, served, labels)
    server = Server(served, identity_of(plan, served), template, "", base_identity=base_identity_of(plan, served))
    return restarted_server(server, plan.restart_at) if plan.restart_at else _labelled(server)


def restarted_server(server: Server, restart_at: str) -> Server:
    """The server with other Pods from the same template, which has a mark of the restart that was requested."""
    mark = {"metadata": {"annotations": {names.RESTARTED_ANNOTATION: restart_at}}}
    marked = merged_map(server.template, mark)
    return _labelled(replace(server, template=marked, restarted_at=restart_at, verify_hashes={}))


def _labelled(server: Server) -> Server:
    """The server with the digest of its template, which its Pods are labelled with."""
    template_digest = digest(server.template)
    template = merged_map(server.template, {"metadata": {"labels": {names.SERVER_LABEL: template_digest}}})
    return replace(server, template=template, digest=verified_digest(template_digest, server.model))


def with_adapter_of(plan: Plan, server: Server, served: ServedModel) -> Server:
    """The server with the same Pods and the adapter of `served`."""
    verified = verified_digest(server.pod_label, served)
    return replace(server, model=served, identity=identity_of(plan, served), digest=verified, verify_hashes={})


def verified_digest(template_digest: str, served: ServedModel) -> str:
    """Of what is verified: the Pod template, and the adapter where one is served."""
    return digest({"template": template_digest, "adapter": served.adapter.path}) if served.adapter else template_digest


def serving_deployment(plan: Plan, settings: ManifestSettings, server: Server, volume: VolumeUse) -> Manifest:
    """The Deployment of `server`."""
    labels = child_labels(plan, names.SERVING_COMPONENT, input_hash=server.model.train_hash)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": owned_metadata(
            plan, names.serving_name(plan.name), {**labels, **serving_queue_labels(plan)}, server_annotations(server)
        ),
        "spec": {
            "replicas": plan.spec.serving.replicas,
            # A rollout that somebody pauses by hand goes on: only `suspend` pauses.
            "paused": False,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": settings.progress_deadline_seconds,
            "strategy": _strategy(plan, shared=volume.shared or not server.uses_workspace),
            "selector": {"matchLabels": names.serving_labels(plan.name)},
            "template": server.template,
        },
    }


def server_annotations(server: Server) -> dict[str, str]:
    """What people read of a server in the object that keeps it."""
    return {
        names.MODEL_PATH_ANNOTATION: server.model.model_path,
        names.STUDENT_PROMPT_ANNOTATION: server.model.student_prompt,
        names.PRECISION_ANNOTATION: server.model.precision,
        names.DIGEST_ANNOTATION: server.digest,
    }


def adapters_config_map(plan: Plan, adapter: ServedAdapter, of_guests: Mapping[str, str] | None = None) -> Manifest:
    """The adapters that the server has to load, by the names of their models: its own student's first."""
    labels = child_labels(plan, names.SERVING_COMPONENT)
    own = dict.fromkeys(all_student_names(plan), f"/{adapter.path}")
    wanted = {**own, **{name: path for name, path in (of_guests or {}).items() if name not in own}}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": owned_metadata(plan, names.adapters_name(plan.name), labels),
        "data": {ADAPTERS_FILE: json.dumps(wanted, indent=2) + "\n"},
    }


def all_student_names(plan: Plan) -> tuple[str, ...]:
    """The names by which requests may ask the student."""
    return student_names(plan.spec.serving, names.served_model_name(plan.name))


def serving_service(plan: Plan) -> Manifest:
    """The Service in front of the Pods that serve the student."""
    return service(plan, names.serving_name(plan.name), names.serving_labels(plan.server_owner))


def service(plan: Plan, name: str, selector: dict[str, str]) -> Manifest:
    """A Service of the serving Pods with these labels."""
    labels = child_labels(plan, names.SERVING_COMPONENT)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owned_metadata(plan, name, labels),
        "spec": {
            "selector": selector,
            "ports": [{"name": "http", "port": names.SERVING_PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def disruption_budget(plan: Plan) -> Manifest:
    """The drain of nodes takes one of several serving Pods at a time. Those of a candidate count neither as ready nor
    as missing: it may be drained, or crash, without holding up anybody."""
    labels = child_labels(plan, names.SERVING_COMPONENT)
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": owned_metadata(plan, names.serving_name(plan.name), labels),
        "spec": {"maxUnavailable": 1, "selector": _of_server_itself(plan)},
    }


def _of_server_itself(plan: Plan) -> Manifest:
    """The selector of the serving Pods without those of a candidate."""
    beside = {"key": names.TRACK_LABEL, "operator": "DoesNotExist"}
    return {"matchLabels": names.serving_labels(plan.name), "matchExpressions": [beside]}


def serving_pod(plan: Plan, server: Server, name: str | None = None) -> Manifest:
    """The Pod that the server's Deployment, of this name, would create, for a dry run."""
    return dry_run_pod(plan, name or names.serving_name(plan.name), server.template)


def _strategy(plan: Plan, *, shared: bool) -> Manifest:
    """If only one node can mount the model, a second server may never start, so the first one is stopped before."""
    if not shared or plan.spec.serving.rollout.strategy is RolloutStrategy.RECREATE:
        return {"type": "Recreate"}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def _spread(plan: Plan, topology_key: str) -> Manifest:
    """Servers of one student prefer to be apart. It stands there for a single one, too, so that a change of their
    number replaces none."""
    return {
        "maxSkew": 1,
        "topologyKey": topology_key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": names.serving_labels(plan.name)},
    }


def _serving_template(plan: Plan, settings: ManifestSettings, served: ServedModel, labels: dict[str, str]) -> Manifest:
    base: Manifest = {
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "topologySpreadConstraints": [_spread(plan, key) for key in _SPREAD_OVER],
        **(pull_secrets(plan) if served.image else {}),
    }
    return pod_template(_server_container(plan, settings, served), plan.spec.serving, labels, settings, base)


def _server_container(plan: Plan, settings: ManifestSettings, served: ServedModel) -> GeneratedContainer:
    name = names.served_model_name(plan.name)
    prompt = f"{model_folder(name)}/{IMAGE_PROMPT_FILE}" if served.image else STUDENT_PROMPT_FILE
    max_rank = served.adapter.max_rank if served.adapter else None
    server = model_server(
        plan.spec.serving,
        name,
        served.precision,
        settings,
        prompt_file=prompt,
        max_rank=max_rank,
        calls_tools=plan.spec.task is Task.TOOL_CALLING,
    )
    return GeneratedContainer(
        command=server.command,
        image=server.image,
        mounts=(*_model_mounts(plan, served), *_adapters_mounts(served), *module_mounts(server.modules)),
        volumes=(_model_volume(plan, served), *_adapters_volumes(plan, served), *module_volumes(server.modules)),
        requests=dict(server.requests),
        environment=(
            *_variables({**_OFFLINE, **server.environment, **module_environment(server.modules)}),
            *_api_key(plan, server),
        ),
        annotations={**child_annotations(plan), **module_annotations(server.modules)},
        further_fields={
            "ports": [{"name": "http", "containerPort": names.SERVING_PORT}],
            **server_probes(settings),
            "lifecycle": {"preStop": server.pre_stop},
        },
    )


def _model_volume(plan: Plan, served: ServedModel) -> Manifest:
    return image_volume(served.image) if served.image else workspace_volume(plan)


def _model_mounts(plan: Plan, served: ServedModel) -> tuple[Manifest, ...]:
    """The student and, where the template is to hold it, the student prompt; nothing else of the workspace. Of adapters
    all that there are, since those of later students are loaded into the same Pod."""
    name, adapter = names.served_model_name(plan.name), served.adapter
    if served.image:
        return (image_mount(model_folder(name)),)
    parts = {model_folder(name): served.model_path}
    if adapter:
        parts = {model_folder(names.base_model_name(name)): adapter.base, f"/{ADAPTERS}": ADAPTERS}
    if plan.spec.serving.bake_prompt:
        parts[STUDENT_PROMPT_FILE] = served.student_prompt
    return tuple(
        {"name": WORKSPACE_VOLUME, "mountPath": mounted, "subPath": part, "readOnly": True}
        for mounted, part in parts.items()
    )


def _adapters_mounts(served: ServedModel) -> tuple[Manifest, ...]:
    """The whole ConfigMap rather than a file of it, which would stay as it was when the Pod started."""
    mount = {"name": _ADAPTERS_VOLUME, "mountPath": ADAPTERS_FOLDER, "readOnly": True}
    return (mount,) if served.adapter else ()


def _adapters_volumes(plan: Plan, served: ServedModel) -> tuple[Manifest, ...]:
    volume = {"name": _ADAPTERS_VOLUME, "configMap": {"name": names.adapters_name(plan.name)}}
    return (volume,) if served.adapter else ()


def _api_key(plan: Plan, server: ModelServer) -> tuple[Manifest, ...]:
    """The variable with the clients' key, from its Secret."""
    key = plan.spec.serving.api_key
    return (secret_variable(server.api_key_variable, key),) if key else ()


def _variables(values: Mapping[str, str]) -> tuple[Manifest, ...]:
    return tuple({"name": name, "value": value} for name, value in values.items())
