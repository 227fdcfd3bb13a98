"""Names of children and labels. Each name is defined here once, because a name that two places spell differently
orphans an object."""

from __future__ import annotations

from distillery_api.resource import GROUP

SERVING_PORT = 8000
"""TCP port of the student's server and of its Service."""

MANAGER = "distillery"
WORKSPACE_COMPONENT = "workspace"
SERVING_COMPONENT = "serving"

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
APPLICATION_LABEL = "app.kubernetes.io/name"
INSTANCE_LABEL = "app.kubernetes.io/instance"
COMPONENT_LABEL = "app.kubernetes.io/component"
NAME_LABEL = f"{GROUP}/name"
HASH_LABEL = f"{GROUP}/hash"
ATTEMPT_LABEL = f"{GROUP}/attempt"
UID_LABEL = f"{GROUP}/uid"
MODEL_PATH_ANNOTATION = f"{GROUP}/model-path"
STUDENT_PROMPT_ANNOTATION = f"{GROUP}/student-prompt"
PRECISION_ANNOTATION = f"{GROUP}/precision"
MODULE_ANNOTATION_PREFIX = f"{GROUP}/module-"
DIGEST_ANNOTATION = f"{GROUP}/digest"
SERVER_ANNOTATION = f"{GROUP}/server"
FALLBACK_ANNOTATION = f"{GROUP}/fallback-server"
RESTARTED_ANNOTATION = f"{GROUP}/restarted-at"
SERVER_LABEL = f"{GROUP}/server"
TRACK_LABEL = f"{GROUP}/track"
"""On the Pods of a candidate that stands beside the server which it is to replace."""
CHILD_METADATA_ANNOTATION = f"{GROUP}/child-metadata"
"""On a child: the keys of the labels and annotations that `spec.childMetadata` gave it."""
CONFIGURATION_ANNOTATION = f"{GROUP}/configuration"
"""On a Job: a digest of what the user says about it."""
SUSPENDED_ANNOTATION = f"{GROUP}/suspended"
"""On a Job, or on its Workload in a queue: this operator has stopped it, and may start it again."""

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_CLASS_LABEL = "kueue.x-k8s.io/priority-class"
JOB_UID_LABEL = "kueue.x-k8s.io/job-uid"
"""On a Workload: the UID of its Job."""

STAGE_CONTAINER = "stage"
"""Name of the container that we generate, in every Pod."""

MANAGED_BY_SELECTOR = f"{MANAGED_BY_LABEL}={MANAGER}"
"""Selects every child of every Distillation, for watches."""


def child_selector(name: str) -> str:
    """The label selector of the children of the Distillation `name`, for lists."""
    return f"{MANAGED_BY_SELECTOR},{NAME_LABEL}={name}"


def serving_labels(name: str) -> dict[str, str]:
    """The labels that select the serving Pods of the Distillation `name`; they never change, as a selector must not."""
    return {COMPONENT_LABEL: SERVING_COMPONENT, NAME_LABEL: name}


def serving_selector(name: str) -> str:
    """`serving_labels` as a label selector, for `kubectl scale` and autoscalers."""
    return ",".join(f"{key}={value}" for key, value in serving_labels(name).items())


def stable_selector(name: str) -> str:
    """The label selector of the serving Pods without those of a candidate, which are scaled after them."""
    return f"{serving_selector(name)},!{TRACK_LABEL}"


def candidate_labels(name: str) -> dict[str, str]:
    """The labels that select the candidate's Pods."""
    return {**serving_labels(name), TRACK_LABEL: "candidate"}


def config_map_name(name: str, folder: str) -> str:
    """The ConfigMap with the RunConfig of the stage in `folder`."""
    return f"{name}-{folder}"


def adapters_name(name: str) -> str:
    """The ConfigMap with the adapters that the server has to load."""
    return f"{name}-adapters"


def base_model_name(name: str) -> str:
    """What a server of adapters calls their base model."""
    return f"{name}-base"


def job_name(name: str, folder: str, attempt: int) -> str:
    """The Job of one attempt at a stage; at most 63 characters up to attempt 9999."""
    return f"{name}-{folder}-{attempt}"


def training_service_name(name: str) -> str:
    """Name of the Service by which the Pods of a training on several nodes find each other."""
    return f"{name}-training"


def serving_name(name: str) -> str:
    """The Deployment and the Service: stable, so that clients keep their address."""
    return name


def candidate_name(name: str) -> str:
    """The Deployment and the Service of a candidate beside the server that it is to replace."""
    return f"{serving_name(name)}-candidate"


def served_model_name(name: str) -> str:
    """What clients write in `model` to ask the student: the name of its Distillation."""
    return name


def claim_name(name: str, uid: str) -> str:
    """The workspace claim. It outlives the resource, so the start of the UID keeps a later one of that name apart."""
    return "-".join(part for part in (name, WORKSPACE_COMPONENT, uid.partition("-")[0]) if part)


def service_url(name: str, namespace: str) -> str:
    """Base URL of the student's API inside the cluster."""
    return _url(serving_name(name), namespace)


def candidate_url(name: str, namespace: str) -> str:
    """Base URL of the API of the candidate alone."""
    return _url(candidate_name(name), namespace)


def _url(service: str, namespace: str) -> str:
    return f"http://{service}.{namespace}.svc:{SERVING_PORT}/v1"
