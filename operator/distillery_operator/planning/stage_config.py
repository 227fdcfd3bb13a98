"""The configuration of a stage: its RunConfig, its secrets, and the claims and ConfigMaps that it reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from distillery_api.run_config import (
    METRICS_PORT,
    SERVER_API_KEY_VARIABLE,
    SIGNING_KEY_VARIABLE,
    STUDENT_CREDENTIALS_PREFIX,
    TERMINATION_MESSAGE_PATH,
    TRACKING_CREDENTIALS_PREFIX,
    WORKSPACE_PATH,
    RunConfig,
)
from distillery_api.spec import (
    DistillationSpec,
    EvaluationOptions,
    JobOptions,
    Judge,
    SecretKeyReference,
    SecretReference,
    Server,
    Teacher,
    parse_duration,
)
from distillery_api.stage import Stage
from distillery_operator.planning import names
from distillery_operator.planning.adapters import base_folder
from distillery_operator.planning.evaluate_options import evaluation_processes
from distillery_operator.planning.identity import source_uris
from distillery_operator.planning.plan import Plan, PlannedStage

_REFERENCE = re.compile(r"((?:pvc|configmap)://[^/]+)/")


PROGRESS_TIMEOUT = timedelta(hours=2)
"""How long a stage may make no progress, unless the spec says otherwise. A request may wait for an hour."""

Options = TypeVar("Options", bound=JobOptions)


@dataclass(frozen=True)
class StageLocations:
    """Paths and addresses of a stage, which differ between a Pod and a local process."""

    workspace: str
    """Path of the workspace."""
    base_path: str
    """Folder that plain paths in the manifest are relative to."""
    mounts: Mapping[str, str]
    """Folder of each claim and ConfigMap that the stage reads, by reference (`pvc://datasets`)."""
    server_url: str | None = None
    """Base URL of the student's server, for verify."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 0
    """0 selects a free port."""
    termination_message_path: str | None = None

    @classmethod
    def in_pod(cls, plan: Plan, stage: Stage) -> StageLocations:
        """Paths and addresses in a stage's Pod."""
        return cls(
            workspace=WORKSPACE_PATH,
            base_path=WORKSPACE_PATH,
            mounts={reference: mount_path(reference) for reference in mounted_sources(plan.spec, stage)},
            server_url=_server_url(plan) if stage is Stage.VERIFY else None,
            metrics_host="0.0.0.0",  # noqa: S104 - the operator reads it from another Pod
            metrics_port=METRICS_PORT,
            termination_message_path=TERMINATION_MESSAGE_PATH,
        )


def _server_url(plan: Plan) -> str:
    """Of the server that verify asks."""
    url_of = names.candidate_url if plan.asks_candidate else names.service_url
    return url_of(plan.name, plan.namespace)


def run_config(plan: Plan, planned: PlannedStage, locations: StageLocations, micro_batches: int = 1) -> RunConfig:
    """The RunConfig of a planned stage, whose batches are processed in so many parts."""
    spec, patience = plan.spec, plan.options(planned.stage).progress_timeout
    return RunConfig(
        stage=planned.stage,
        name=plan.name,
        folder=planned.folder,
        inputs={earlier.stage: earlier.folder for earlier in plan.earlier(planned)},
        workspace=locations.workspace,
        base_path=locations.base_path,
        mounts=dict(locations.mounts),
        task=spec.task,
        data=spec.data,
        generation=without_job_options(spec.generation),
        student=spec.student,
        training=without_job_options(spec.training),
        labels=spec.labels,
        evaluation=_without_gate(without_job_options(spec.evaluation)),
        tracking=None if planned.stage is Stage.PUBLISH else spec.tracking,
        model_image=plan.model_image if planned.stage is Stage.PUBLISH else None,
        hub=spec.publication.hub if planned.stage is Stage.PUBLISH else None,
        signing_key=spec.publication.signing_key if planned.stage is Stage.PUBLISH else None,
        server_url=locations.server_url,
        base_folder=base_folder(spec) if planned.stage is Stage.TRAIN else None,
        served_adapter=_adapter_to_verify(plan) if planned.stage is Stage.VERIFY else None,
        bakes_prompt=True if planned.stage is Stage.VERIFY and spec.serving.bake_prompt else None,
        request_timeout_seconds=spec.generation.request_timeout,
        api_key_variables={key.path: variable for variable, key in api_keys(spec, planned.stage).items()},
        processes=evaluation_processes(spec.evaluation, spec.training) if planned.stage is Stage.EVALUATE else None,
        micro_batches=micro_batches,
        progress_timeout_seconds=(parse_duration(patience) if patience else PROGRESS_TIMEOUT).total_seconds(),
        metrics_host=locations.metrics_host,
        metrics_port=locations.metrics_port,
        termination_message_path=locations.termination_message_path,
    )


def _adapter_to_verify(plan: Plan) -> str | None:
    """Where the server's Pod has the adapter that is to answer."""
    return f"/{plan.verified_adapter.path}" if plan.verified_adapter else None


def api_keys(spec: DistillationSpec, stage: Stage) -> dict[str, SecretKeyReference]:
    """The API keys and the signing key that `stage` needs, by environment variable."""
    if stage is Stage.VERIFY:
        return {SERVER_API_KEY_VARIABLE: spec.serving.api_key} if spec.serving.api_key else {}
    if stage is Stage.PUBLISH:
        return {SIGNING_KEY_VARIABLE: spec.publication.signing_key} if spec.publication.signing_key else {}
    judge = spec.generation.judge if stage is Stage.GENERATE else spec.evaluation.judge
    servers = [server for teacher in spec.generation.teachers for server in teacher.all_servers]
    endpoints: dict[Stage, list[Server | Judge | None]] = {Stage.GENERATE: [*servers, judge], Stage.EVALUATE: [judge]}
    keys = [each.api_key for each in endpoints.get(stage, []) if each is not None and each.api_key is not None]
    keys += _request_secrets(spec, stage)
    return {f"DISTILLERY_API_KEY_{number}": key for number, key in enumerate(dict.fromkeys(keys))}


def _request_secrets(spec: DistillationSpec, stage: Stage) -> list[SecretKeyReference]:
    """The Secrets with headers and parameters of the requests of `stage`."""
    models: dict[Stage, list[Teacher | Judge | None]] = {
        Stage.GENERATE: [*spec.generation.teachers, spec.generation.judge],
        Stage.EVALUATE: [spec.evaluation.judge],
    }
    return [secret for model in models.get(stage, []) if model is not None for secret in model.request_secrets]


def credentials(spec: DistillationSpec, stage: Stage) -> dict[str, SecretReference]:
    """The Secrets whose keys become environment variables of `stage`, by what the names of the variables begin with:
    for reading rows, for loading the base model or, in generate, for checking it, for pushing the student to a hub, and
    for reporting to trackers."""
    found: dict[str, SecretReference | None] = {}
    if stage is Stage.GENERATE:
        found = {"": spec.data.credentials, STUDENT_CREDENTIALS_PREFIX: spec.student.credentials}
    elif stage is Stage.PUBLISH:
        found = {"": spec.publication.hub.credentials if spec.publication.hub else None}
    elif stage is not Stage.VERIFY:
        found = {"": spec.student.credentials}
    if spec.tracking is not None and stage is not Stage.PUBLISH:
        found[TRACKING_CREDENTIALS_PREFIX] = spec.tracking.credentials
    return {prefix: secret for prefix, secret in found.items() if secret is not None}


def mounted_sources(spec: DistillationSpec, stage: Stage) -> tuple[str, ...]:
    """The claims and ConfigMaps that `stage` reads, such as `pvc://datasets`, sorted. Generate checks the student
    before the teacher is paid, although the rows do not depend on it."""
    checked = (spec.student.model.uri,) if stage is Stage.GENERATE else ()
    found = (_REFERENCE.match(uri) for uri in (*source_uris(spec, stage), *checked))
    return tuple(sorted({match.group(1) for match in found if match}))


def mount_path(reference: str) -> str:
    """Where a Pod mounts `pvc://CLAIM` or `configmap://NAME`."""
    return "/data/" + reference.replace("://", "/")


def _without_gate(evaluation: EvaluationOptions) -> EvaluationOptions:
    """The options without the quality gate, which no stage decides: a changed bound gives no attempt anything new."""
    return evaluation.model_copy(update={"gate": None})


def without_job_options(options: Options) -> Options:
    """The options without image, resources, limits and the like, which concern the Job and not the process in it."""
    return options.model_copy(update=dict.fromkeys(JobOptions.model_fields))
