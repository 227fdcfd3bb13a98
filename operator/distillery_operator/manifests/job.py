"""A stage as a Job with its ConfigMap.

Each attempt is a Job of its own: the retries of a Job know neither our back-off nor the difference between "try
later" and "the user must change something".
"""

from __future__ import annotations

from distillery_api.paths import CONFIG_FILE
from distillery_api.run_config import METRICS_PORT, WORKSPACE_PATH, RetryRejected, ServingStudent
from distillery_api.stage import ExitCode, Stage
from distillery_api.training_memory import TrainingMachine
from distillery_operator.manifests.certificate_authorities import (
    authority_environment,
    authority_mounts,
    authority_volumes,
)
from distillery_operator.manifests.child_metadata import Manifest, child_annotations, child_labels, owned_metadata
from distillery_operator.manifests.container_resources import has_accelerator
from distillery_operator.manifests.pod_template import (
    WORKSPACE_VOLUME,
    GeneratedContainer,
    VolumeUse,
    dry_run_pod,
    node_constraints,
    pod_template,
    secret_variable,
    workspace_volume,
)
from distillery_operator.manifests.registry_credentials import (
    credentials_environment,
    credentials_mounts,
    credentials_volumes,
)
from distillery_operator.manifests.settings import ManifestSettings
from distillery_operator.manifests.training_machine import training_machine
from distillery_operator.manifests.training_nodes import completions, node_count, node_environment, node_fields
from distillery_operator.planning import names
from distillery_operator.planning.identity import digest
from distillery_operator.planning.plan import Plan, PlannedStage
from distillery_operator.planning.queue import queue_labels
from distillery_operator.planning.stage_config import (
    StageLocations,
    api_keys,
    credentials,
    mount_path,
    mounted_sources,
    run_config,
)
from distillery_operator.planning.user_configuration import user_configuration

CONFIG_FOLDER = "/etc/distillery"

_REQUESTS = {
    Stage.GENERATE: {"cpu": "100m", "memory": "512Mi"},
    Stage.TRAIN: {"cpu": "500m", "memory": "1Gi"},
    Stage.EVALUATE: {"cpu": "500m", "memory": "1Gi"},
    Stage.PUBLISH: {"cpu": "100m", "memory": "256Mi"},
    Stage.VERIFY: {"cpu": "100m", "memory": "256Mi"},
}
_MEMORY_LIMITS = {
    Stage.GENERATE: "2Gi",
    Stage.TRAIN: "32Gi",
    Stage.EVALUATE: "32Gi",
    Stage.PUBLISH: "1Gi",
    Stage.VERIFY: "2Gi",
}
"""Several times what a stage needs: train and evaluate with a student of 8 billion parameters on a GPU, the others
whatever their rows and models. A stage that needs more is stopped before it takes the memory of its neighbours."""
_ANY_INSTALLATION = ManifestSettings(trainer_image="", vllm_image="", vllm_cpu_image="")
_LOADS_MODEL = frozenset({Stage.TRAIN, Stage.EVALUATE})


def stage_config_map(
    plan: Plan,
    planned: PlannedStage,
    serving_student: ServingStudent | None = None,
    micro_batches: int = 1,
    prune: tuple[str, ...] = (),
    *,
    retry_rejected: RetryRejected | None = None,
) -> Manifest:
    """The ConfigMap with the stage's RunConfig. Evaluate compares the new student with `serving_student`; batches are
    processed in so many parts; the folders in `prune` are deleted first; generate asks rejected rows again."""
    labels = child_labels(plan, planned.stage, input_hash=planned.input_hash)
    text = _config_text(plan, planned, serving_student, micro_batches, prune, retry_rejected=retry_rejected)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": owned_metadata(plan, names.config_map_name(plan.name, planned.folder), labels),
        "data": {CONFIG_FILE: text},
    }


def stage_job(
    plan: Plan, planned: PlannedStage, attempt: int, settings: ManifestSettings, volume: VolumeUse
) -> Manifest:
    """One attempt at a stage."""
    labels = child_labels(plan, planned.stage, input_hash=planned.input_hash, attempt=str(attempt))
    queue = queue_labels(plan)
    name = names.job_name(plan.name, planned.folder, attempt)
    configuration = {names.CONFIGURATION_ANNOTATION: user_configuration(plan, planned.stage)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": owned_metadata(plan, name, {**labels, **queue}, configuration),
        "spec": {
            # In a queue, Kueue starts it.
            "suspend": bool(queue),
            **completions(node_count(plan, planned.stage)),
            "backoffLimit": 0,
            # A replacement waits until the old Pod has ended: two Pods must not write to one workspace.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules()},
            "template": _stage_template(plan, planned, labels, settings, volume, job=name),
        },
    }


def stage_pod(plan: Plan, planned: PlannedStage, settings: ManifestSettings) -> Manifest:
    """The Pod that the stage's Job would create, for a dry run."""
    labels = child_labels(plan, planned.stage, input_hash=planned.input_hash)
    name = names.config_map_name(plan.name, planned.folder)
    template = _stage_template(plan, planned, labels, settings, VolumeUse(plan.shared_volume), job=name)
    return dry_run_pod(plan, name, template)


def stage_image(plan: Plan, planned: PlannedStage, settings: ManifestSettings) -> str:
    """The stage's image: the user's, else the installation's."""
    return plan.options(planned.stage).image or settings.trainer_image


def planned_training_machine(plan: Plan) -> TrainingMachine:
    """What the Pod of the train stage will have."""
    return training_machine(plan.options(Stage.TRAIN), _MEMORY_LIMITS[Stage.TRAIN])


def configuration_digest(plan: Plan, planned: PlannedStage) -> str:
    """A digest of everything that the spec gives an attempt, identity or not: a stage that failed because its budget or
    memory was too small runs again when the limit is raised. What the installation gives it does not count."""
    options = plan.options(planned.stage)
    limits, queue = [options.timeout, options.max_attempts], queue_labels(plan)
    pod = stage_pod(plan, planned, _ANY_INSTALLATION)
    return digest([_config_text(plan, planned), pod, limits, *([queue] if queue else [])])


def _config_text(
    plan: Plan,
    planned: PlannedStage,
    serving_student: ServingStudent | None = None,
    micro_batches: int = 1,
    prune: tuple[str, ...] = (),
    *,
    retry_rejected: RetryRejected | None = None,
) -> str:
    config = run_config(plan, planned, StageLocations.in_pod(plan, planned.stage), micro_batches)
    if planned.stage is Stage.EVALUATE:
        config = config.model_copy(update={"serving_student": serving_student})
    if planned.stage is Stage.GENERATE:
        config = config.model_copy(update={"training_machine": planned_training_machine(plan)})
    config = config.model_copy(update={"prune": prune, "retry_rejected": retry_rejected})
    # Without folders, the text, and with it the configuration's digest, is that of earlier releases.
    return config.model_dump_json(by_alias=True, exclude_none=True, exclude=None if prune else {"prune"}, indent=2)


def _failure_rules() -> list[Manifest]:
    """A disrupted Pod is replaced whatever its exit code. Otherwise, exit code 2 means that a retry cannot succeed."""
    user_error = {"containerName": names.STAGE_CONTAINER, "operator": "In", "values": [ExitCode.USER_ERROR]}
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": user_error},
    ]


def _stage_template(
    plan: Plan,
    planned: PlannedStage,
    labels: dict[str, str],
    settings: ManifestSettings,
    volume: VolumeUse,
    *,
    job: str,
) -> Manifest:
    options = plan.options(planned.stage)
    base = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": settings.stage_grace_seconds,
        **node_fields(plan, node_count(plan, planned.stage)),
        **node_constraints(plan, planned.stage, volume),
    }
    return pod_template(_stage_container(plan, planned, settings, job), options, labels, settings, base)


def _stage_container(plan: Plan, planned: PlannedStage, settings: ManifestSettings, job: str) -> GeneratedContainer:
    stage = planned.stage
    config = names.config_map_name(plan.name, planned.folder)
    sources = mounted_sources(plan.spec, stage)
    return GeneratedContainer(
        command=("python", "-m", "distillery_trainer", str(stage), "--config", f"{CONFIG_FOLDER}/{CONFIG_FILE}"),
        image=stage_image(plan, planned, settings),
        mounts=(
            {"name": WORKSPACE_VOLUME, "mountPath": WORKSPACE_PATH},
            {"name": "config", "mountPath": CONFIG_FOLDER, "readOnly": True},
            *(
                {"name": f"data-{index}", "mountPath": mount_path(source), "readOnly": True}
                for index, source in enumerate(sources)
            ),
            *authority_mounts(settings),
            *credentials_mounts(plan, stage),
        ),
        volumes=(
            workspace_volume(plan),
            {"name": "config", "configMap": {"name": config}},
            *(_source_volume(f"data-{index}", source) for index, source in enumerate(sources)),
            *authority_volumes(settings),
            *credentials_volumes(plan, stage),
        ),
        requests=_REQUESTS[stage],
        memory_limit=_MEMORY_LIMITS[stage],
        environment=(
            *_api_keys(plan, stage),
            *_no_gpus(plan, stage),
            *node_environment(plan, job, node_count(plan, stage)),
            *authority_environment(settings),
            *credentials_environment(plan, stage),
        ),
        annotations=child_annotations(plan),
        needs_shared_memory=stage in _LOADS_MODEL,
        further_fields={"ports": [{"name": "metrics", "containerPort": METRICS_PORT}], **_credentials(plan, stage)},
    )


def _source_volume(name: str, reference: str) -> Manifest:
    kind, _, source = reference.partition("://")
    if kind == "configmap":
        return {"name": name, "configMap": {"name": source}}
    return {"name": name, "persistentVolumeClaim": {"claimName": source}}


def _api_keys(plan: Plan, stage: Stage) -> tuple[Manifest, ...]:
    return tuple(secret_variable(variable, key) for variable, key in api_keys(plan.spec, stage).items())


def _no_gpus(plan: Plan, stage: Stage) -> tuple[Manifest, ...]:
    """Says that the processes of a training or an evaluation share the CPU, where they are to have no GPUs."""
    on_processors = plan.spec.training.gpus_per_node is not None and not has_accelerator(plan.options(stage))
    return ({"name": "CUDA_VISIBLE_DEVICES", "value": ""},) if stage in _LOADS_MODEL and on_processors else ()


def _credentials(plan: Plan, stage: Stage) -> Manifest:
    secrets = credentials(plan.spec, stage)
    entries = [_variables(prefix, secret.secret_name) for prefix, secret in secrets.items()]
    return {"envFrom": entries} if entries else {}


def _variables(prefix: str, secret: str) -> Manifest:
    """All keys of a Secret as environment variables."""
    return {**({"prefix": prefix} if prefix else {}), "secretRef": {"name": secret}}
