"""The Pod of a stage or a server, at the "restricted" pod security level.

The root file system is read-only, so everything that libraries write by themselves (home, temporary files, caches) gets
a volume of its own. A user's `podTemplate` is merged over the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from distillery_api.run_config import TERMINATION_MESSAGE_PATH
from distillery_api.spec import SecretKeyReference, StageOptions
from distillery_api.stage import Stage
from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.manifests.container_resources import container_resources, processors
from distillery_operator.manifests.pod_template_merge import merged_map, merged_template
from distillery_operator.manifests.settings import ManifestSettings
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan

WORKSPACE_VOLUME = "workspace"

_HOME = "/tmp/home"  # noqa: S108 - a volume of the Pod's own
_CACHE = "/cache"
_SCRATCH = {"tmp": "/tmp", "home": _HOME, "cache": _CACHE}  # noqa: S108 - see above
_SCRATCH_SIZES = {"tmp": "10Gi", "home": "1Gi", "cache": "100Gi"}
"""A Pod that writes more is evicted, before it fills its node's disk. The cache holds a student from a model hub."""
_SHARED_MEMORY = ("shm", "/dev/shm")  # noqa: S108 - data loaders and vLLM exchange tensors there
_SHARED_MEMORY_SIZE = "8Gi"
_ENVIRONMENT = {
    "HOME": _HOME,
    # torch asks for the user's name, and an arbitrary user ID has none in /etc/passwd.
    "USER": "distillery",
    "PYTHONUNBUFFERED": "1",
    # Rows and messages are UTF-8 whatever the image's locale.
    "PYTHONUTF8": "1",
    "XDG_CACHE_HOME": f"{_CACHE}/xdg",
    "HF_HOME": f"{_CACHE}/huggingface",
    # Otherwise idle threads spin, and a busy neighbour on the node makes a small model 18 times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
    "TORCH_HOME": f"{_CACHE}/torch",
    "TORCHINDUCTOR_CACHE_DIR": f"{_CACHE}/inductor",
    "TRITON_CACHE_DIR": f"{_CACHE}/triton",
    "VLLM_CACHE_ROOT": f"{_CACHE}/vllm",
}
_NODE_CONSTRAINTS = ("nodeSelector", "affinity", "tolerations")


@dataclass(frozen=True)
class VolumeUse:
    """How the workspace volume is used when a Pod is created."""

    shared: bool
    """Whether many nodes can mount it."""
    beside_server: bool = False
    """Whether a serving Pod that mounts it is on its node."""


@dataclass(frozen=True)
class GeneratedContainer:
    """What the generated container runs, apart from its security settings."""

    command: tuple[str, ...]
    image: str
    mounts: tuple[Manifest, ...]
    volumes: tuple[Manifest, ...]
    requests: dict[str, str]
    """Compute resources to request where the user says nothing about them."""
    memory_limit: str | None = None
    """Memory limit if the user says nothing about memory; None for no limit."""
    environment: tuple[Manifest, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Annotations of its Pod."""
    needs_shared_memory: bool = True
    further_fields: dict[str, Any] | None = None


def pod_template(
    container: GeneratedContainer,
    options: StageOptions,
    labels: dict[str, str],
    settings: ManifestSettings,
    base: Manifest,
) -> Manifest:
    """The Pod template for `container` over the fields of `base`, with the user's own template merged over it."""
    annotations = {"annotations": dict(container.annotations)} if container.annotations else {}
    generated = {
        "metadata": {"labels": dict(labels), **annotations},
        "spec": merged_map(_any_node(settings), merged_map(base, _pod_spec(container, options, settings))),
    }
    user = options.pod_template.to_manifest() if options.pod_template else {}
    return merged_template(generated, user, frozenset(volume["name"] for volume in container.volumes))


def node_constraints(plan: Plan, stage: Stage, volume: VolumeUse) -> Manifest:
    """Node constraints of a stage's Pod: a volume that only one node can mount binds all stages to the nodes of the
    training, and to the node of a server that uses it. Verify runs where the server may, and prefers the server's node
    in any case: the latency that it measures is then without the network's, and the load that it sees is the
    server's. Where the server needs no workspace, or is another Distillation's, verify runs where the workspace is."""
    if stage is Stage.VERIFY:
        beside = not volume.shared and volume.beside_server
        follows_volume = (plan.publishes or plan.host is not None) and not volume.shared
        base = _constraints(plan.spec.training) if follows_volume else _servers_constraints(plan)
        return merged_map(base, {"affinity": _beside_server(plan) if beside else _near_server(plan)})
    if volume.shared:
        return {}
    # The training's own template already contains its constraints.
    base = _constraints(plan.spec.training) if stage is not Stage.TRAIN else {}
    return merged_map(base, {"affinity": _beside_server(plan)} if volume.beside_server else {})


def requires_server(job: Mapping[str, Any]) -> bool:
    """Whether a Job's Pod may only run where a serving Pod does."""
    affinity = (job["spec"].get("template") or {}).get("spec", {}).get("affinity") or {}
    terms = (affinity.get("podAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or ()
    labels = ((term.get("labelSelector") or {}).get("matchLabels") or {} for term in terms)
    return any(each.get(names.COMPONENT_LABEL) == names.SERVING_COMPONENT for each in labels)


def workspace_volume(plan: Plan) -> Manifest:
    """The workspace as a volume of a Pod."""
    return {"name": WORKSPACE_VOLUME, "persistentVolumeClaim": {"claimName": plan.claim_name}}


def secret_variable(name: str, key: SecretKeyReference) -> Manifest:
    """An environment variable with the value of a key of a Secret."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": key.secret_name, "key": key.key}}}


def dry_run_pod(plan: Plan, name: str, template: Manifest) -> Manifest:
    """A Pod with a template's spec, for a dry run: the API server accepts a Deployment or a Job with an invalid
    template and rejects only its Pods."""
    metadata = {"name": f"{name}-check", "namespace": plan.namespace, **template["metadata"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def _any_node(settings: ManifestSettings) -> Manifest:
    """Where every Pod may run: the images are built for Linux. A user's podTemplate comes before this, key by key."""
    return {"nodeSelector": {"kubernetes.io/os": "linux", **settings.stage_node_selector}}


def _pod_spec(container: GeneratedContainer, options: StageOptions, settings: ManifestSettings) -> Manifest:
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": _pod_security(settings),
        "containers": [_container(container, options, settings)],
        "volumes": [*container.volumes, *_scratch_volumes(container)],
    }


def _pod_security(settings: ManifestSettings) -> Manifest:
    user, group = settings.run_as_user, settings.fs_group
    return {
        "runAsNonRoot": True,
        **({} if user is None else {"runAsUser": user, "runAsGroup": user}),
        **({} if group is None else {"fsGroup": group}),
        # Otherwise the kubelet changes the owner of every file on the volume at each start.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container(container: GeneratedContainer, options: StageOptions, settings: ManifestSettings) -> Manifest:
    environment = [{"name": name, "value": value} for name, value in {**_ENVIRONMENT, **_threads(options)}.items()]
    return {
        "name": names.STAGE_CONTAINER,
        "image": container.image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": list(container.command),
        "env": [*environment, *container.environment],
        "resources": container_resources(options, container.requests, container.memory_limit),
        "volumeMounts": [*container.mounts, *_scratch_mounts(container)],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePath": TERMINATION_MESSAGE_PATH,
        # A stage that crashes writes no message: then the end of its log is used.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **(container.further_fields or {}),
    }


def _threads(options: StageOptions) -> dict[str, str]:
    """As many threads as there are processors to run them: libraries see those of the whole node."""
    limit = processors(options)
    return {} if limit is None else {"OMP_NUM_THREADS": str(limit)}


def _scratch_volumes(container: GeneratedContainer) -> list[Manifest]:
    scratch = [{"name": name, "emptyDir": {"sizeLimit": _SCRATCH_SIZES[name]}} for name in _SCRATCH]
    if not container.needs_shared_memory:
        return scratch
    shared = {"medium": "Memory", "sizeLimit": _SHARED_MEMORY_SIZE}
    return [*scratch, {"name": _SHARED_MEMORY[0], "emptyDir": shared}]


def _scratch_mounts(container: GeneratedContainer) -> list[Manifest]:
    mounts = {**_SCRATCH, **(dict([_SHARED_MEMORY]) if container.needs_shared_memory else {})}
    return [{"name": name, "mountPath": path} for name, path in mounts.items()]


def _constraints(options: StageOptions) -> Manifest:
    """The node constraints of a user's template."""
    template = options.pod_template
    spec = template.to_manifest().get("spec", {}) if template else {}
    return {key: spec[key] for key in _NODE_CONSTRAINTS if key in spec}


def _servers_constraints(plan: Plan) -> Manifest:
    """The node constraints of the server, without those about other Pods: servers that keep away from each other do not
    keep verify away."""
    constraints = _constraints(plan.spec.serving)
    of_nodes = {key: value for key, value in (constraints.get("affinity") or {}).items() if key == "nodeAffinity"}
    return {**constraints, "affinity": of_nodes}


def _beside_server(plan: Plan) -> Manifest:
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [_servers_node(plan)]}}


def _near_server(plan: Plan) -> Manifest:
    preferred = {"weight": 100, "podAffinityTerm": _servers_node(plan)}
    return {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preferred]}}


def _servers_node(plan: Plan) -> Manifest:
    """A term about the serving Pod rather than its node: it still holds when the server moves."""
    return {
        "labelSelector": {"matchLabels": names.serving_labels(plan.server_owner)},
        "topologyKey": "kubernetes.io/hostname",
    }
