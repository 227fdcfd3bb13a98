"""All children of a Distillation as the core sees them: typed, without the details of the API server's objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from distillery_api.spec import RouteKind
from distillery_api.stage import Stage
from distillery_api.stage_result import Progress, StageResult
from distillery_api.status import RequestCounters
from distillery_api.usage import Estimate
from distillery_operator.core.problem import Problem
from distillery_operator.manifests.server import Server
from distillery_operator.planning.plan import Plan

Raw = Mapping[str, Any]


@dataclass(frozen=True)
class Workloads:
    """Kueue's objects about Jobs in a queue."""

    items: tuple[Raw, ...] = ()
    unreadable: str | None = None
    """Why there are none to read, as a sentence's part: no Kueue answers."""
    forbidden: bool = False
    """Whether there may be some, which this operator may not read."""


@dataclass(frozen=True)
class HostObjects:
    """The Distillation whose server serves the student, and the objects of that server."""

    plan: Plan | None = None
    """None where there is no such Distillation."""
    uid: str = ""
    invalid: bool = False
    """Whether there is one whose spec breaks the rules."""
    stalled: str | None = None
    """Why it is stalled, if it is."""
    deployment: Raw | None = None
    config_map: Raw | None = None
    """The adapters that its Pods load."""
    pods: tuple[Raw, ...] = ()


@dataclass(frozen=True)
class GuestObjects:
    """A Distillation whose student is served by another one's server."""

    plan: Plan
    config_map: Raw | None = None
    """Its adapter, for the host to load."""


@dataclass(frozen=True)
class Children:
    """Raw objects, as read from the API server."""

    claim: Raw | None = None
    """The workspace claim, ours or the given one."""
    jobs: tuple[Raw, ...] = ()
    pods: tuple[Raw, ...] = ()
    deployment: Raw | None = None
    service: Raw | None = None
    candidate: Raw | None = None
    """The Deployment of a candidate beside the server that it is to replace."""
    candidate_service: Raw | None = None
    config_maps: tuple[Raw, ...] = ()
    disruption_budget: Raw | None = None
    http_route: Raw | None = None
    ingress: Raw | None = None
    workloads: Workloads = Workloads()
    """Of the Jobs that `core/observe_queue.py` names; only these need any."""
    host: HostObjects | None = None
    """Where the student is served by another Distillation's server."""
    guests: tuple[GuestObjects, ...] = ()
    """Those on the server of this Distillation or, with a host, the others on the host's."""
    events: tuple[Raw, ...] = ()
    """Events about the Pods and Jobs that `Observation.unexplained` names; only these objects need any."""


class Ownership(StrEnum):
    """Whether a child belongs to the Distillation."""

    OURS = "Ours"
    TERMINATING = "Terminating"
    """Being deleted, or left over from an earlier resource of the same name."""
    FOREIGN = "Foreign"


class JobState(StrEnum):
    """The state of a Job."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    DONE = "Done"
    FAILED = "Failed"
    TERMINATING = "Terminating"
    FOREIGN = "Foreign"


@dataclass(frozen=True)
class ObservedWorkload:
    """Kueue's object about a Job in a queue."""

    name: str
    active: bool = True
    """Whether Kueue may start the Job."""
    stopped_by_us: bool = False
    """Whether this operator made it inactive."""
    given_up: bool = False
    """Whether Kueue itself made it inactive, or declared it finished: only a person can help."""
    changing: bool = False
    """Whether Kueue is about to start the Job, or has just stopped it."""
    message: str = ""
    """Why Kueue does not start the Job, in its words."""


@dataclass(frozen=True)
class Queueing:
    """What is known of who starts and stops a Job, beside this operator."""

    stopped_by_us: bool = False
    """Whether this operator suspended it."""
    suspended_since: datetime | None = None
    queue: str | None = None
    """The queue that it is in."""
    workload: ObservedWorkload | None = None
    unreadable: str | None = None
    """Why Kueue's object about it cannot be read."""
    forbidden: bool = False
    """Whether that is for want of a right."""
    other_controller: str | None = None
    """Who runs the Job in place of Kubernetes' own controller."""
    configuration: str | None = None
    """Digest of what the user said about the Job."""


@dataclass(frozen=True)
class ObservedJob:
    """One attempt at a stage."""

    name: str
    stage: Stage | None = None
    input_hash: str = ""
    attempt: int = 0
    state: JobState = JobState.PENDING
    created: datetime | None = None
    started: datetime | None = None
    """When the Job began; its Pod may have waited for a node since."""
    stage_started: datetime | None = None
    """When the stage's container began."""
    waits_since: datetime | None = None
    """Since when it waits for what it waits for now: a Pod, a node, or the start on that node."""
    deadline_seconds: int | None = None
    """How long after its start the Job is stopped; None for never."""
    finished: datetime | None = None
    exit_code: int | None = None
    result: StageResult | None = None
    """What the stage wrote when it ended, done or failed."""
    problem: Problem | None = None
    """Why it failed, or what keeps it from starting."""
    image: str | None = None
    """Image of the stage."""
    pod: str | None = None
    pod_ip: str | None = None
    is_active: bool = False
    """Whether its Pod has not ended."""
    queueing: Queueing = Queueing()
    beside_server: bool = False
    """Whether its template requires the node of a serving Pod."""
    has_finished: bool = False
    """Whether the Job itself has ended. Where a sidecar outlives the stage, it has not although the attempt has."""
    ttl_seconds: int | None = None
    """How long after its end the cluster deletes it; None for never."""

    @property
    def live(self) -> bool:
        """Whether it writes to the workspace, or may start to."""
        return self.is_active or self.state in (JobState.PENDING, JobState.RUNNING, JobState.TERMINATING)


@dataclass(frozen=True)
class ObservedClaim:
    """The workspace claim."""

    ownership: Ownership
    shared: bool
    """Whether many nodes can mount it."""
    lost: bool = False
    """Whether its volume has disappeared."""
    uid: str = ""
    bound: bool = False
    """Whether it has a volume."""
    requested: str | None = None
    """Size that it asks for, as a quantity."""
    capacity: str | None = None
    """Size of its volume, as a quantity."""
    conditions: Mapping[str, str] = field(default_factory=dict)
    """Messages of its conditions, by type: an enlargement and what it waits for."""
    manifest: Raw = field(default_factory=dict)


@dataclass(frozen=True)
class ReadyPod:
    """A serving Pod that answers."""

    server: str
    """What it is labelled with; empty for one that an earlier release made."""
    train_hash: str
    ip: str = ""


@dataclass(frozen=True)
class ObservedDeployment:
    """The server."""

    ownership: Ownership
    train_hash: str = ""
    model_path: str = ""
    student_prompt: str = ""
    precision: str = ""
    digest: str = ""
    """Digest of the Pod template that it was created with."""
    server: Server | None = None
    """The server that it stores; None in one of a release that stored none."""
    fallback: Server | None = None
    """The server that answered well before this one."""
    ready_pods: tuple[ReadyPod, ...] = ()
    """The Pods that answer, of whatever template."""
    image: str | None = None
    desired: int = 1
    """Replicas that its spec asks for."""
    replicas: int = 0
    ready: int = 0
    updated: int = 0
    available: int = 0
    current: bool = False
    """Whether the numbers are about the newest version of the Deployment."""
    deadline_exceeded: bool = False
    problem: Problem | None = None
    manifest: Raw = field(default_factory=dict)

    @property
    def answers(self) -> bool:
        """Whether at least one Pod answers, or none is wanted."""
        return self.available > 0 or self.desired == 0

    @property
    def rolled_out(self) -> bool:
        """Whether all Pods are of the newest template and it answers, however many of them are there or still to
        come."""
        return self.current and self.replicas == self.updated and self.answers


@dataclass(frozen=True)
class ObservedChild:
    """A child of which only matters whose it is and what it says, such as a Service."""

    ownership: Ownership
    manifest: Raw = field(default_factory=dict)


ServerChild = ObservedDeployment | ObservedChild


@dataclass(frozen=True)
class ObservedRoute(ObservedChild):
    """A route from outside the cluster to the server."""

    accepted: bool = False
    """Whether requests can come this way."""
    message: str = ""
    """What its controllers say."""
    candidate_percent: int = 0
    """Share of its requests that it leads to the candidate of a canary, in percent."""


@dataclass(frozen=True)
class ObservedConfigMap:
    """What a stage is given."""

    name: str
    ownership: Ownership
    manifest: Raw = field(default_factory=dict)


@dataclass(frozen=True)
class ObservedHost:
    """The Distillation whose server serves the student."""

    plan: Plan | None
    """None where there is no such Distillation, or its spec breaks the rules (`invalid`)."""
    invalid: bool = False
    stalled: str | None = None
    """Why it is stalled, if it is."""
    deployment: ObservedDeployment | None = None
    adapters: Mapping[str, str] = field(default_factory=dict)
    """The adapters that its Pods load, by name."""

    @property
    def server(self) -> Server | None:
        """The server that is deployed, if adapters can be loaded there."""
        seen = self.deployment
        server = seen.server if seen and seen.ownership is Ownership.OURS else None
        return server if server and server.model.adapter else None


@dataclass(frozen=True)
class Guest:
    """A Distillation whose student is served by another one's server."""

    plan: Plan
    server: Server | None = None
    """What it has the host load; None where there is nothing yet."""
    adapters: Mapping[str, str] = field(default_factory=dict)
    """The same, by name."""


@dataclass(frozen=True)
class LostPod:
    """A stage's Pod that should have ended, of which its node says nothing."""

    problem: Problem
    since: datetime


@dataclass(frozen=True)
class Observation:
    """All children of one Distillation."""

    claim: ObservedClaim | None = None
    jobs: tuple[ObservedJob, ...] = ()
    orphaned_pods: tuple[str, ...] = ()
    """Stage Pods that still run although their Job was deleted."""
    lost_pod: LostPod | None = None
    """A stage's Pod that is lost with its node."""
    deployment: ObservedDeployment | None = None
    """The server; with a host, the host's as far as it serves this student."""
    host: ObservedHost | None = None
    """Where the student is served by another Distillation's server."""
    guests: tuple[Guest, ...] = ()
    """Those on the server of this Distillation or, with a host, the others on the host's."""
    service: ObservedChild | None = None
    candidate: ObservedDeployment | None = None
    """The candidate beside the server that it is to replace."""
    candidate_service: ObservedChild | None = None
    config_maps: tuple[ObservedConfigMap, ...] = ()
    disruption_budget: ObservedChild | None = None
    routes: Mapping[RouteKind, ObservedRoute] = field(default_factory=dict)
    server_on_node: bool = False
    """Whether a serving Pod takes room on a node."""
    server_holds_workspace: bool = False
    """Whether a serving Pod has the workspace mounted on a node."""
    unexplained: tuple[str, ...] = ()
    """Pods and Jobs that do not start and do not say why, and a claim without a volume that they wait for."""

    @property
    def server_children(self) -> tuple[ServerChild, ...]:
        """All that belongs to the server and to a candidate."""
        server = (None if self.host else self.deployment, self.service, self.disruption_budget, *self.routes.values())
        return tuple(each for each in (*server, self.candidate, self.candidate_service) if each)

    @property
    def running_job(self) -> ObservedJob | None:
        """The Job whose Pod can be asked for its progress."""
        return next((job for job in self.jobs if job.state is JobState.RUNNING and job.pod_ip), None)

    def job_named(self, name: str | None) -> ObservedJob | None:
        """The Job of that name."""
        return next((job for job in self.jobs if job.name == name), None)

    def config_map_named(self, name: str) -> ObservedConfigMap | None:
        """The ConfigMap of that name."""
        return next((each for each in self.config_maps if each.name == name), None)

    def attempts(self, stage: Stage, input_hash: str) -> tuple[ObservedJob, ...]:
        """Our Jobs for one stage's inputs, latest attempt first."""
        ours = (job for job in self.jobs if (job.stage, job.input_hash) == (stage, input_hash))
        return tuple(sorted(ours, key=lambda job: -job.attempt))


@dataclass(frozen=True)
class CanaryCounters:
    """What the serving Pods of both servers of a canary have counted, at one moment."""

    stable: RequestCounters
    candidate: RequestCounters


@dataclass(frozen=True)
class StageReport:
    """What a running stage answers when it is asked."""

    progress: Progress | None = None
    """How far it is."""
    estimate: Estimate | None = None
    """What its requests to the teacher are expected to use and cost."""
