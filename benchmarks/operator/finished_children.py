"""The children of a Distillation whose stages are all done, as the cluster holds them: an operator that finds them has
nothing left to do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from distillery_api.resource import Distillation
from distillery_api.status import DistillationStatus
from distillery_operator.controller.settings import read_settings
from distillery_operator.core.situation import plan_for
from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.manifests.job import stage_config_map, stage_job
from distillery_operator.manifests.pod_template import VolumeUse
from distillery_operator.manifests.storage import workspace_claim
from distillery_operator.planning import names
from operator_process import QUICK

Post = Callable[[Manifest], Manifest]
"""Creates an object with its status, and returns it as stored."""

SETTINGS = read_settings(QUICK).core


def create_finished_children(distillation: Manifest, post: Post) -> None:
    """Create them for a stored Distillation without a server."""
    known = {key: value for key, value in distillation.items() if key != "status"}
    plan = plan_for(Distillation.model_validate(known), SETTINGS, DistillationStatus())
    post(workspace_claim(plan))
    for planned in plan.stages:
        post(stage_config_map(plan, planned))
        job = stage_job(plan, planned, 1, SETTINGS.manifests, VolumeUse(shared=False))
        post(_pod(post(_done(job)), job))


def _done(job: Manifest) -> Manifest:
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": now()} for kind in ("SuccessCriteriaMet", "Complete")
    ]
    status = {"conditions": conditions, "succeeded": 1, "startTime": now(), "completionTime": now()}
    return {**job, "status": {**status, "uncountedTerminatedPods": {}, "terminating": 0, "ready": 0}}


def _pod(stored: Manifest, job: Manifest) -> Manifest:
    metadata = stored["metadata"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
    template = job["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{metadata['name']}-abcde",
            "namespace": metadata["namespace"],
            "labels": template["metadata"]["labels"],
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
        "status": stage_ended(template["metadata"]["labels"]),
    }


def stage_ended(labels: dict[str, str]) -> Manifest:
    """The status of a Pod with these labels whose stage is done."""
    stage = labels[names.COMPONENT_LABEL]
    result = {"stage": stage, "folder": f"{stage}-{labels[names.HASH_LABEL]}", "state": "Done"}
    ended = {"exitCode": 0, "message": json.dumps(result), "finishedAt": now()}
    return pod_status("Succeeded", {"terminated": ended})


def pod_status(phase: str, state: Manifest) -> Manifest:
    """The status of a Pod as its kubelet reports it."""
    container = {"name": "stage", "ready": False, "restartCount": 0, "image": "i", "imageID": "i", "state": state}
    return {
        "phase": phase,
        "conditions": [{"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [container],
    }


def now() -> str:
    """The present time as the API server writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
