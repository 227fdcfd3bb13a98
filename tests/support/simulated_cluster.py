"""A simulated cluster for the operator's pure core: objects as in the API server, and controllers that move them.

It carries out the core's actions as the operator does (the status first), can die between any two writes, and plays
what happens to Jobs, Pods and Deployments. No part of the core is replaced.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from distillery_api.evaluation import Evaluation as Table
from distillery_api.evaluation import Score, ServingComparison
from distillery_api.reasons import Reason
from distillery_api.resource import Distillation
from distillery_api.stage import Stage, stages_until
from distillery_api.stage_result import Progress, StageOutcome, StageResult
from distillery_api.status import Condition, ConditionType, DistillationStatus, Refusal, StageStatus
from distillery_api.usage import Estimate
from distillery_api.verification import Verification
from distillery_operator.core.actions import Action, Apply, Create, Delete, DryRun, Merge, decide
from distillery_operator.core.assessment import Assessment, assess
from distillery_operator.core.fleet import FleetState, fleet_state
from distillery_operator.core.observation import CanaryCounters, Children, Observation, StageReport, Workloads
from distillery_operator.core.observe import observe
from distillery_operator.core.observe_queue import waiting_jobs
from distillery_operator.core.refusals import (
    Subject,
    has_room_by_then,
    is_held_back,
    kept_refusals,
    refusal,
    still_wanted,
    subject,
    with_refusal,
    without,
)
from distillery_operator.core.requeue import requeue_after
from distillery_operator.core.retry_policy import RetrySettings
from distillery_operator.core.situation import Settings, Situation, plan_for
from distillery_operator.core.status import compute_status
from distillery_operator.errors import Refused
from distillery_operator.manifests.settings import ManifestSettings
from distillery_operator.planning.plan import Plan

UID = "5f0c1a2b-0000-4000-8000-000000000001"
START = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
SETTINGS = Settings(ManifestSettings("distillery-trainer:1", "vllm-openai:1", "vllm-openai-cpu:1"), RetrySettings())

VERIFIED = Verification(rows=16, alike=16, required_share=1.0, latency_seconds=0.18, calls=20)
RUN_STAGES = stages_until(None)
"""The stages before the server."""

Raw = dict[str, Any]


FIXED_TRAINING = {"preset": "Azure"}
"""Rank and batch size are known before the rows are."""


def spec(**changes: Any) -> Raw:
    """The spec of a small Distillation; `changes` replace its top-level fields."""
    teacher = {"name": "big", "endpoint": "https://teacher.example/v1", "model": "big-405b"}
    return {
        "task": "NLI",
        "data": {"train": {"uri": "pvc://rows/train.jsonl"}, "validation": {"uri": "pvc://rows/validation.jsonl"}},
        "generation": {"teachers": [teacher]},
        "student": {"model": {"uri": "hf://org/small"}},
        "serving": {"runtime": "Transformers"},
        **changes,
        "training": {**FIXED_TRAINING, **changes.get("training", {})},
    }


def distillation(spec_: Raw | None = None, **metadata: Any) -> Distillation:
    """A Distillation called conjnli."""
    return Distillation.model_validate(
        {
            "apiVersion": "distillery.dev/v1alpha1",
            "kind": "Distillation",
            "metadata": {"name": "conjnli", "namespace": "team-a", "uid": UID, "generation": 1, **metadata},
            "spec": spec_ or spec(),
        }
    )


def written(moment: datetime) -> str:
    """A time as the API server writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


class SimulatedCluster:
    """One Distillation and all that belongs to it."""

    name, uid = "conjnli", UID

    def __init__(self, **changes: Any) -> None:
        self.now = START
        self.fleet_turn: Callable[[FleetState], bool] = lambda state: False
        self.spec = spec(**changes)
        self.generation = 1
        self.annotations: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.kueue, self.may_read_workloads = False, True
        self.objects: dict[tuple[str, str], Raw] = {}
        self.pods: dict[str, Raw] = {}
        self.serving_pods: list[Raw] = []
        self.events: list[Raw] = []
        self.status = DistillationStatus()
        self.settings = SETTINGS
        self.created: list[str] = []
        self.checked: list[Raw] = []
        self.refuses: dict[tuple[str, str], Refused] = {}
        """What the server refuses, by verb and kind; a dry run creates a Pod."""
        self.refused: list[Subject] = []
        self.serving_score = 0.9
        """Of the student that is served, where a new one is compared with it."""
        self.comparison: Raw | None = {"better": 3, "worse": 3, "p_value": 1.0}
        """How a new student compares with the one that is served; None in an image of an earlier release."""
        self.counters: CanaryCounters | None = None
        """What the Pods of a canary answer at /metrics."""
        self._serial = 0

    @classmethod
    def holding(cls, stored: Raw) -> SimulatedCluster:
        """A cluster that holds a Distillation's spec, status and objects."""
        cluster = cls()
        cluster.spec = stored["spec"]
        cluster.status = DistillationStatus.model_validate(stored["status"])
        cluster.objects = {(each["kind"], each["metadata"]["name"]): each for each in stored["objects"]}
        cluster.serving_pods = [cluster._serving_pod(ready=True)]
        return cluster

    # What a person does.

    def change(self, **changes: Any) -> None:
        """Edits the spec."""
        self.spec = {**self.spec, **changes}
        self.spec["training"] = {**FIXED_TRAINING, **self.spec.get("training", {})}
        self.generation += 1

    def request_retry(self) -> None:
        """Sets the retry annotation."""
        self.annotations["distillery.dev/retry-at"] = written(self.now)

    def install(self, **manifest_settings: Any) -> None:
        """Upgrades the operator: other settings of the installation, such as images."""
        self.settings = replace(self.settings, manifests=replace(self.settings.manifests, **manifest_settings))

    def delete(self, kind: str, name: str) -> None:
        """Deletes an object by hand."""
        self._delete(kind, name)

    def wait(self, seconds: float) -> None:
        """Lets time pass."""
        self.now += timedelta(seconds=seconds)

    # What the operator does.

    @property
    def plan(self) -> Plan:
        """The plan of the present spec."""
        metadata = {"name": self.name, "uid": self.uid, "generation": self.generation}
        metadata |= {"annotations": self.annotations, "labels": self.labels}
        return plan_for(distillation(self.spec, **metadata), self.settings, self.status)

    def observation(self) -> Observation:
        """What the core sees."""
        of_kind = {kind: tuple(o for (k, _), o in self.objects.items() if k == kind) for kind in ("Job", "ConfigMap")}
        children = Children(
            claim=self.objects.get(("PersistentVolumeClaim", self.plan.claim_name)),
            jobs=of_kind["Job"],
            config_maps=of_kind["ConfigMap"],
            pods=(*self.pods.values(), *self.serving_pods),
            deployment=self.objects.get(("Deployment", self.name)),
            service=self.objects.get(("Service", self.name)),
            candidate=self.objects.get(("Deployment", f"{self.name}-candidate")),
            candidate_service=self.objects.get(("Service", f"{self.name}-candidate")),
            disruption_budget=self.objects.get(("PodDisruptionBudget", self.name)),
            http_route=self.objects.get(("HTTPRoute", self.name)),
            ingress=self.objects.get(("Ingress", self.name)),
            workloads=self._workloads(of_kind["Job"]),
            events=tuple(self.events),
        )
        return observe(copy.deepcopy(self.with_others(children)), owner_uid=self.uid, now=self.now)

    def with_others(self, children: Children) -> Children:
        """The children, with those of other Distillations that concern this one."""
        return children

    def _workloads(self, jobs: tuple[Raw, ...]) -> Workloads:
        uids = waiting_jobs(jobs, suspended=self.plan.suspended)
        if uids and not self.kueue:
            return Workloads(unreadable="no Kueue answers")
        if uids and not self.may_read_workloads:
            return Workloads(unreadable="the operator may not read why", forbidden=True)
        found = (each for (kind, _), each in self.objects.items() if kind == "Workload")
        return Workloads(tuple(each for each in found if each["metadata"]["labels"]["kueue.x-k8s.io/job-uid"] in uids))

    def assessment(self, refusals: tuple[Refusal, ...] = ()) -> Assessment:
        """What the core makes of the situation."""
        situation = Situation(
            self.plan, self.observation(), self.status, self.now, self.settings, refusals, counters=self.counters
        )
        return assess(replace(situation, fleet_turn=self.fleet_turn(fleet_state(situation))))

    def decisions(self) -> tuple[Action, ...]:
        """What the core would do now."""
        return decide(self.assessment())

    def requeue_after(self) -> timedelta | None:
        """When the core asks for the next pass although nothing happens."""
        return requeue_after(self.assessment())

    def reconcile(
        self, *, dies_after: int | None = None, progress: Progress | None = None, estimate: Estimate | None = None
    ) -> None:
        """One pass: checks, then the status, then the writes, each of which is due. With `dies_after`, only so many
        writes are made."""
        assessment = self.assessment(self._check())
        refusals = assessment.situation.refusals
        writes = [action for action in decide(assessment) if not isinstance(action, DryRun)]
        if dies_after == 0:
            return
        self._write_status(compute_status(assessment, StageReport(progress, estimate)))
        for action in writes[: None if dies_after is None else dies_after - 1]:
            refusals = self._attempt(action, refusals)
        if dies_after is None and refusals != assessment.situation.refusals:
            self._write_status(compute_status(self.assessment(refusals), StageReport()))

    def _write_status(self, status: DistillationStatus) -> None:
        self.status = DistillationStatus.model_validate_json(status.model_dump_json(by_alias=True))

    def _check(self) -> tuple[Refusal, ...]:
        """The refusals that still count, after the dry runs."""
        situation, actions = self.assessment().situation, self.decisions()
        generation, requested = situation.plan.generation, situation.retry_requested
        kept = kept_refusals(self.status, generation=generation, retry_requested=requested)
        checks = [action for action in actions if isinstance(action, DryRun)]
        self.checked += [check.manifest for check in checks]
        kept = tuple(each for each in still_wanted(kept, actions) if each.kind != "Pod")
        error = self.refuses.get(("create", "Pod"))
        if not checks or (error and has_room_by_then(checks[0], error)):
            return kept
        return self._refused(checks[0], kept) or kept

    def _attempt(self, action: Action, refusals: tuple[Refusal, ...]) -> tuple[Refusal, ...]:
        """Carry out an action, unless it is refused or needs one that is."""
        if is_held_back(action, refusals):
            return refusals
        refused = self._refused(action, refusals)
        if refused is None:
            self._carry_out(action)
        return without(refusals, action) if refused is None else refused

    def _refused(self, action: Action, refusals: tuple[Refusal, ...]) -> tuple[Refusal, ...] | None:
        """The refusals with that of the action; None where the server accepts it."""
        verb, kind, _, _ = subject(action)
        error = self.refuses.get((verb, kind))
        if error is None:
            return None
        self.refused.append(subject(action))
        return with_refusal(refusals, refusal(action, error))

    def settle(self) -> None:
        """Passes until nothing changes any more."""
        for _ in range(20):
            before = copy.deepcopy((self.status, self.objects, self.pods))
            self.reconcile()
            self.collect()
            if before == (self.status, self.objects, self.pods):
                return
        raise AssertionError(f"no rest after 20 passes: {self.status}")

    def _carry_out(self, action: Action) -> None:
        match action:
            case Create(manifest):
                self._create(manifest)
            case Apply(manifest):
                self._apply(manifest)
            case Merge(kind, name, patch):
                self._merge(kind, name, patch)
            case Delete(kind, name):
                self._delete(kind, name)

    def _create(self, manifest: Raw) -> None:
        key = (manifest["kind"], manifest["metadata"]["name"])
        if key in self.objects:
            return  # 409
        self.created += [] if key[0] == "ConfigMap" else [key[1]]
        self._store(manifest)

    def _apply(self, manifest: Raw) -> None:
        self._store(manifest)

    def _store(self, manifest: Raw) -> None:
        key = (manifest["kind"], manifest["metadata"]["name"])
        before = self.objects.get(key, {"metadata": {}})
        self._serial += 1
        changed = before.get("spec") != manifest.get("spec")
        stamp = {
            "uid": before["metadata"].get("uid", f"uid-{self._serial}"),
            "creationTimestamp": before["metadata"].get("creationTimestamp", written(self.now)),
            "generation": before["metadata"].get("generation", 0) + changed,
        }
        status = {"status": before["status"]} if "status" in before else {}
        self.objects[key] = {**copy.deepcopy(manifest), **status}
        self.objects[key]["metadata"] |= stamp

    def _merge(self, kind: str, name: str, patch: Raw) -> None:
        found = self.objects.get((kind, name))
        if found:
            self.objects[kind, name] = _merged(found, patch)

    def _delete(self, kind: str, name: str) -> None:
        found = self.objects.get((kind, name))
        if found and kind == "Job":
            found["metadata"]["deletionTimestamp"] = written(self.now)
        else:
            self.objects.pop((kind, name), None)
            if kind == "Deployment":
                self.serving_pods = [pod for pod in self.serving_pods if not _is_of(name, pod)]

    # What controllers and kubelets do.

    def collect(self) -> None:
        """Garbage collector and Job controller: what is being deleted goes, and a Job gets its Pod."""
        for key, found in list(self.objects.items()):
            if found["metadata"].get("deletionTimestamp") or (key[0] == "Job" and has_expired(found, self.now)):
                self._remove_pods(found)
                del self.objects[key]
            elif key[0] == "Job" and not ended(found):
                self._sync(found)

    def _sync(self, job: Raw) -> None:
        if job["spec"]["suspend"]:
            self._remove_pods(job)
        elif not any(owned_by(pod, job) for pod in self.pods.values()):
            self._make_pod(job)

    def _remove_pods(self, job: Raw) -> None:
        self.pods = {name: pod for name, pod in self.pods.items() if not owned_by(pod, job)}

    def _make_pod(self, job: Raw) -> None:
        self._serial += 1
        job["status"] = {"startTime": written(self.now)}
        name = f"{job['metadata']['name']}-{self._serial:05}"
        template = copy.deepcopy(job["spec"]["template"])
        owner = {"kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
        self.pods[name] = {
            "metadata": {
                **template["metadata"],
                "name": name,
                "creationTimestamp": written(self.now),
                "ownerReferences": [owner],
            },
            "spec": template["spec"],
            "status": {"phase": "Pending"},
        }

    def start_server(self) -> None:
        """The Deployment's Pod runs on a node, and answers."""
        owner = {
            "kind": "Deployment",
            "name": "conjnli",
            "uid": self.objects["Deployment", "conjnli"]["metadata"]["uid"],
        }
        labels = {"app.kubernetes.io/component": "serving", "distillery.dev/name": "conjnli"}
        self.pods["conjnli-server"] = {
            "metadata": {"name": "conjnli-server", "labels": labels, "ownerReferences": [owner]},
            "spec": {"nodeName": "node-1", "containers": [{"name": "stage"}]},
            "status": {"phase": "Running"},
        }
        self.serve()

    def stop_server(self) -> None:
        """The Deployment's Pods end, as its replicas ask for none."""
        assert self.objects["Deployment", "conjnli"]["spec"]["replicas"] == 0
        del self.pods["conjnli-server"]
        self.serve()

    def job(self, name: str | None = None) -> Raw:
        """The Job of that name, else the one that has not ended."""
        if name:
            return self.objects["Job", name]
        return next(job for job in self.live_jobs())

    def live_jobs(self) -> list[Raw]:
        """The Jobs whose stage has not ended."""
        jobs = [o for (kind, _), o in self.objects.items() if kind == "Job" and not ended(o)]
        return [job for job in jobs if not any(stage_ended(pod) for pod in self.pods.values() if owned_by(pod, job))]

    def pod(self, job: Raw | None = None) -> Raw:
        """The Pod of the Job."""
        return next(pod for pod in reversed(self.pods.values()) if owned_by(pod, job or self.job()))

    def start(self) -> None:
        """The Pod of the live Job runs."""
        status = {"name": "stage", "state": {"running": {"startedAt": written(self.now)}}, "started": True}
        pod = self.pod()
        pod["spec"]["nodeName"] = "node-1"
        pod["status"] = {"phase": "Running", "podIP": "10.0.0.7", "containerStatuses": [status]}

    def find_no_room(self, message: str = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.") -> None:
        """The scheduler finds no node for the Pod of the live Job."""
        unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        self.pod()["status"] = {"phase": "Pending", "conditions": [unschedulable]}

    def wait_for(self, reason: str, message: str) -> None:
        """The Pod of the live Job waits for something."""
        waiting = {"waiting": {"reason": reason, "message": message}}
        status = {"name": "stage", "image": "distillery-trainer:1", "state": waiting}
        self.pod()["status"] = {"phase": "Pending", "containerStatuses": [status]}

    def finish(self, **fields: Any) -> None:
        """The live Job's stage is done and writes its result."""
        job = self.job()
        stage = Stage(job["metadata"]["labels"]["app.kubernetes.io/component"])
        folder = f"{stage}-{job['metadata']['labels']['distillery.dev/hash']}"
        if stage is Stage.EVALUATE:
            fields = {
                "evaluation": Table(sample_size=150, student=Score(score=0.9), teacher=Score(score=0.95))
            } | fields
            fields = {**fields, "evaluation": self._compared(fields["evaluation"], folder)}
        if stage is Stage.PUBLISH:
            fields = self._pushed(folder) | fields
        if stage is Stage.VERIFY:
            fields = {"verification": VERIFIED, "message": VERIFIED.sentence()} | fields
        result = StageResult(stage=stage, folder=folder, state=StageOutcome.DONE, **fields)
        self.end(0, result.termination_message())

    def _pushed(self, folder: str) -> dict[str, str]:
        """What publish has pushed: an image by a digest, and a commit, that belong to this student and this place."""
        config = json.loads(self.objects["ConfigMap", f"{self.name}-{folder}"]["data"]["run.json"])
        content = hashlib.sha256(folder.encode()).hexdigest()
        image, hub = config.get("modelImage"), config.get("hub")
        return {
            **({"model_image": f"{image['repository']}@sha256:{content}"} if image else {}),
            **({"hub_revision": f"hf://{hub['repository']}@{content[:40]}"} if hub else {}),
        }

    def _compared(self, table: Table | None, folder: str) -> Table | None:
        """The table as the stage writes it: where its configuration names a student that is served, with that one."""
        config = json.loads(self.objects["ConfigMap", f"{self.name}-{folder}"]["data"]["run.json"])
        if "servingStudent" not in config or table is None or self.comparison is None:
            return table
        comparison = ServingComparison(hash=config["servingStudent"]["hash"], **self.comparison)
        serving = None if comparison.problem else Score(score=self.serving_score)
        return table.model_copy(update={"serving": serving, "serving_comparison": comparison})

    def fail(self, exit_code: int, reason: Reason | None = None, message: str = "", **fields: Any) -> None:
        """The live Job's stage fails; with a reason, it writes a result."""
        job = self.job()
        stage = Stage(job["metadata"]["labels"]["app.kubernetes.io/component"])
        result = StageResult(
            stage=stage,
            folder="",
            state=StageOutcome.FAILED,
            exit_code=exit_code,
            reason=reason or Reason.GENERATION_FAILED,
            message=message,
            **fields,
        )
        self.end(exit_code, result.termination_message() if reason else message)

    def end(self, exit_code: int, message: str = "", reason: str = "Error") -> None:
        """The live Job's container ends, and the Job with it unless a sidecar runs on."""
        job, pod = self.job(), self.pod()
        sidecar = any(each["name"] != "stage" for each in pod["spec"]["containers"])
        terminated = {"exitCode": exit_code, "message": message, "reason": reason, "finishedAt": written(self.now)}
        pod["status"] = {
            "phase": "Running" if sidecar else "Failed" if exit_code else "Succeeded",
            "containerStatuses": [{"name": "stage", "state": {"terminated": terminated}}],
        }
        if sidecar:
            return
        condition = {"type": "Failed" if exit_code else "Complete", "status": "True"}
        job["status"] = {**job["status"], "conditions": [condition | {"lastTransitionTime": written(self.now)}]}

    def evict(self) -> None:
        """The kubelet removes the live Job's Pod, and the Job fails."""
        self.end(137)
        self.pod(self._last_job())["status"] |= {"reason": "Evicted", "message": "low on ephemeral storage"}

    def exceed_deadline(self) -> None:
        """The Job controller stops the live Job at its deadline."""
        job = self.job()
        self._remove_pods(job)
        failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
        job["status"] = {**job["status"], "conditions": [failed | {"lastTransitionTime": written(self.now)}]}

    def _last_job(self) -> Raw:
        return next(o for (kind, _), o in reversed(self.objects.items()) if kind == "Job")

    def serve(self, ready: int | None = None, name: str | None = None) -> None:
        """The Deployment's Pods are of its newest version, and answer."""
        name = name or self.name
        deployment = self.objects["Deployment", name]
        count = deployment["spec"]["replicas"] if ready is None else ready
        counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas", "availableReplicas"), count)
        deployment["status"] = {"observedGeneration": deployment["metadata"]["generation"], **counts}
        others = [pod for pod in self.serving_pods if not _is_of(name, pod)]
        self.serving_pods = [*others, *(self._serving_pod(ready=True, name=name) for _ in range(count))]

    def serve_candidate(self, ready: int | None = None) -> None:
        """The candidate's Pods are of its newest version, and answer."""
        self.serve(ready, f"{self.name}-candidate")

    def selected(self) -> list[str]:
        """The server of each ready Pod that the Service selects, by its label."""
        wanted = self.objects["Service", self.name]["spec"]["selector"].items()
        ready = [pod for pod in self.serving_pods if pod["status"]["conditions"][0]["status"] == "True"]
        labels = [pod["metadata"]["labels"] for pod in ready]
        return [each["distillery.dev/server"] for each in labels if wanted <= each.items()]

    def roll_out(self, waiting: Raw | None = None, *, ready: bool = False, name: str = "conjnli") -> None:
        """A Pod of the Deployment's newest version is there beside those before, which answer; `waiting` is what keeps
        it from starting."""
        deployment = self.objects["Deployment", name]
        new = self._serving_pod(ready=ready, waiting=waiting, name=name)
        others = [pod for pod in self.serving_pods if not _is_of(name, pod)]
        old = [pod for pod in self.serving_pods if _is_of(name, pod) and pod["metadata"]["labels"] != _labels(new)]
        if deployment["spec"]["strategy"]["type"] == "Recreate":
            old = []
        self.serving_pods = [*others, *old, new]
        available = len(old) + ready
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(old) + 1,
            "updatedReplicas": 1,
            "readyReplicas": available,
            "availableReplicas": available,
        }

    def _serving_pod(self, *, ready: bool, waiting: Raw | None = None, name: str = "conjnli") -> Raw:
        template = copy.deepcopy(self.objects["Deployment", name]["spec"]["template"])
        self._serial += 1
        state: Raw = {"waiting": waiting} if waiting else {"running": {}}
        container = {"name": "stage", "image": "distillery-trainer:1", "state": state, "ready": ready, "started": ready}
        return {
            "metadata": {
                **template["metadata"],
                "name": f"{name}-{self._serial:05}",
                "creationTimestamp": written(self.now),
                "ownerReferences": [{"kind": "ReplicaSet", "name": name, "uid": f"replica-set of {name}"}],
            },
            "spec": template["spec"],
            "status": {
                "phase": "Pending" if waiting else "Running",
                "conditions": [{"type": "Ready", "status": str(ready)}],
                "containerStatuses": [container],
            },
        }

    def run_stages(self, *stages: Stage) -> None:
        """Passes until those stages are done; before verify, the server starts. Publish is left out where the student
        is served from the workspace."""
        for stage in stages:
            if stage is Stage.PUBLISH and not self.plan.publishes:
                continue
            self.settle()
            if stage is Stage.VERIFY:
                self.serve()
                self.settle()
            self.start()
            self.finish()
        self.settle()

    # What a test checks.

    def condition(self, kind: ConditionType) -> Condition | None:
        """The condition of that kind."""
        return next((each for each in self.status.conditions if each.type is kind), None)

    def reason(self, kind: ConditionType = ConditionType.READY) -> str | None:
        """The reason of that condition."""
        found = self.condition(kind)
        return found.reason if found else None

    def truth(self, kind: ConditionType) -> str | None:
        """The status of that condition, or None where it is absent."""
        found = self.condition(kind)
        return str(found.status) if found else None

    def record(self, stage: Stage) -> StageStatus:
        """The stage in the status."""
        return next(record for record in self.status.stages if record.name is stage)

    def jobs(self) -> list[str]:
        """Names of all Jobs."""
        return [name for kind, name in self.objects if kind == "Job"]


def _merged(before: Any, patch: Any) -> Any:
    """A JSON merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    fields = before if isinstance(before, dict) else {}
    changed = {key: _merged(fields.get(key), value) for key, value in patch.items()}
    return {key: value for key, value in {**fields, **changed}.items() if value is not None}


def _is_of(deployment: str, pod: Raw) -> bool:
    return bool(pod["metadata"]["ownerReferences"][0]["name"] == deployment)


def _labels(found: Raw) -> Raw:
    return dict(found["metadata"]["labels"])


def owned_by(pod: Raw, job: Raw) -> bool:
    """Whether the Pod is the Job's."""
    return bool(pod["metadata"]["ownerReferences"][0]["uid"] == job["metadata"]["uid"])


def ended(job: Raw) -> bool:
    """Whether the Job has ended or is being deleted."""
    conditions = job.get("status", {}).get("conditions", ())
    return any(each["type"] in ("Complete", "Failed") for each in conditions) or "deletionTimestamp" in job["metadata"]


def stage_ended(pod: Raw) -> bool:
    """Whether the Pod's stage has ended; a sidecar may run on."""
    return any("terminated" in each["state"] for each in pod["status"].get("containerStatuses", ()))


def has_expired(job: Raw, now: datetime) -> bool:
    """Whether a finished Job's time to live is over."""
    times = [each["lastTransitionTime"] for each in job.get("status", {}).get("conditions", ())]
    lifetime = job["spec"].get("ttlSecondsAfterFinished")
    return lifetime is not None and any(datetime.fromisoformat(t) + timedelta(seconds=lifetime) <= now for t in times)
