"""The life of one pod on the node, from its binding to its removal.

Level-triggered, as a kubelet is: whatever wakes the runner (a change of the pod, a container's end, a probe, a fault
that came or went), it looks at everything anew and does the next step.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from process_node.container import Container, ContainerRun, Waiting
from process_node.events import WarningEvents
from process_node.faults import Exit
from process_node.kube_api import ApiError, ApiUnreachable, NotFound, Object
from process_node.pod_status import PodState, pod_status
from process_node.probes import Probe, make_check
from process_node.services import NodeServices
from process_node.starting import CannotStart, ContainerStarter

IDLE_SECONDS = 5.0
RETRY_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 300.0
OVER = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Disruption:
    """An order to end a pod that is not the pod's own doing."""

    reason: str
    message: str
    grace_s: float = 0.0
    disrupted: bool = True


class PodRunner(threading.Thread):
    """Runs one pod; `update` and `gone` tell what the API server says of it."""

    def __init__(self, services: NodeServices, pod: Object) -> None:
        super().__init__(name=f"pod {pod['metadata']['name']}", daemon=True)
        self.pod = pod
        self._services = services
        self._wake = threading.Event()
        self._gone = threading.Event()
        self._disruption: Disruption | None = None
        self._end_at: float | None = None
        self._address_returned = False
        self._sent: Object = {}
        self._state = _initial_state(pod, services)
        self._starter = ContainerStarter(services, pod, self._state.pod_address)
        self._emit = WarningEvents(services.api, pod, services.name).emit

    # ------------------------------------------------------------------ told from outside

    def update(self, pod: Object) -> None:
        """The pod has changed."""
        self.pod = pod
        self._wake.set()

    def gone(self) -> None:
        """The pod is no longer on the API server: end what still runs at once."""
        self._gone.set()
        self._wake.set()

    def wake(self) -> None:
        """Look again now."""
        self._wake.set()

    def disrupt(self, disruption: Disruption) -> None:
        """End the pod as Failed for a reason of the node's."""
        self._disruption = self._disruption or disruption
        self._wake.set()

    def kill(self, end: Exit | None, number: int) -> None:
        """Send a signal to its running main containers."""
        for container in self._state.mains:
            if container.run is not None and container.is_running:
                container.run.kill(end, number)

    def pids(self) -> list[int]:
        """The process 1 of each running container."""
        runs = [each.run for each in self._state.containers if each.run is not None]
        return [run.pid for run in runs if run.pid is not None]

    # ------------------------------------------------------------------ the loop

    def run(self) -> None:
        """Do the next step until the pod is gone."""
        while not self._gone.is_set():
            delay = self._step()
            self._wake.wait(delay)
            self._wake.clear()
        self._stop_containers(0)
        self._give_address_back()
        self._starter.remove()

    def _give_address_back(self) -> None:
        """Once: it may be another pod's afterwards."""
        if not self._address_returned:
            self._address_returned = True
            self._services.subnet.release(self._state.pod_address)

    def _step(self) -> float:
        """One look at everything; returns how long to sleep unless woken, in seconds."""
        if self._services.lost.is_set():
            return IDLE_SECONDS
        try:
            delay = self._advance()
            self._report()
            if self._state.over:
                self._give_address_back()
            if self._state.over and self._is_deleted:
                self._remove()
        except (ApiError, ApiUnreachable):
            return RETRY_SECONDS
        return delay

    def _advance(self) -> float:
        if self._state.over:
            return IDLE_SECONDS
        ending = self._ending()
        if ending is not None:
            return self._end(ending)
        return self._start_what_is_due()

    def _end(self, ending: Disruption) -> float:
        # Said before the containers end, as a kubelet does: their end alone looks like the stage's own.
        self._state.message, self._state.disrupted = ending.message, ending.disrupted
        if ending.disrupted:
            self._report()
        if self._stop_containers(ending.grace_s):
            self._state.over = True
            self._state.reason = ending.reason
        return IDLE_SECONDS

    @property
    def _is_deleted(self) -> bool:
        return "deletionTimestamp" in self.pod["metadata"]

    def _ending(self) -> Disruption | None:
        """Why the pod has to end now, if it has to."""
        if self._disruption is not None:
            return self._disruption
        if self._is_deleted:
            grace = float(self.pod["metadata"].get("deletionGracePeriodSeconds", 30))
            return Disruption("", "", grace, disrupted=False)
        limit = self.pod["spec"].get("activeDeadlineSeconds")
        if limit is not None and datetime.now(UTC) > self._state.started_at + timedelta(seconds=limit):
            message = "Pod was active on the node longer than the specified deadline"
            return Disruption("DeadlineExceeded", message, 1.0, disrupted=False)
        return None

    def _stop_containers(self, grace_s: float) -> bool:
        """Stop the main and init containers, then the sidecars; whether all have ended."""
        self._end_at = self._end_at or time.monotonic() + grace_s
        for kinds in (("main", "init"), ("sidecar",)):
            running = [each for each in self._state.containers if each.kind in kinds and each.is_running]
            for container in running:
                container.stop_probes.set()
                container.ready = False
                if container.run is not None:
                    container.run.stop(max(0.0, min(grace_s, self._end_at - time.monotonic())))
            if running:
                return False
        return True

    # ------------------------------------------------------------------ starting

    def _start_what_is_due(self) -> float:
        """Start the next init container, or the main ones; returns when to look again, in seconds."""
        if all(self._is_finished(container) for container in self._state.mains):
            return self._finish()
        for container in self._state.inits:
            if container.kind == "init" and container.has_succeeded:
                container.stop_probes.set()
                continue
            delay = self._care_for(container)
            if container.kind == "init" and self._has_failed_for_good(container):
                return self._finish()
            if container.kind == "init" or not container.started:
                return delay
        return min(self._care_for(container) for container in self._state.mains)

    def _care_for(self, container: Container) -> float:
        """Start the container if it does not run and should; returns when to look again, in seconds."""
        if container.is_running or self._is_finished(container):
            return self._until_deadline()
        if container.ended is not None:
            self._back_off(container)
        pause = container.start_not_before - time.monotonic()
        if pause > 0:
            return pause
        try:
            self._start(container)
        except CannotStart as problem:
            container.waiting = problem.waiting
            if problem.event:
                self._emit(problem.event, problem.waiting.message)
            return RETRY_SECONDS
        return self._until_deadline()

    def _until_deadline(self) -> float:
        return 1.0 if "activeDeadlineSeconds" in self.pod["spec"] else IDLE_SECONDS

    def _is_finished(self, container: Container) -> bool:
        return container.ended is not None and not container.is_restarted(self._state.restart_policy)

    def _has_failed_for_good(self, container: Container) -> bool:
        return self._is_finished(container) and not container.has_succeeded

    def _finish(self) -> float:
        """All that counts has ended: stop the sidecars, and the pod is over."""
        self._state.over = self._stop_containers(float(self.pod["spec"].get("terminationGracePeriodSeconds", 30)))
        return IDLE_SECONDS

    def _back_off(self, container: Container) -> None:
        """The first restart comes at once, the next after a pause that doubles."""
        container.put_away_run()
        container.started = container.ready = False
        count = container.restarts - 2
        pause = 0.0 if count < 0 else min(self._services.restart_backoff_s * 2**count, LONGEST_BACKOFF_SECONDS)
        container.start_not_before = time.monotonic() + pause
        if pause:
            message = f"back-off {pause:g}s restarting failed container={container.name}"
            container.waiting = Waiting("CrashLoopBackOff", message)

    def _start(self, container: Container) -> None:
        """Start a run; raises CannotStart when something that it needs is not there."""
        run = self._starter.make_run(container, self.pod, self._wake.set)
        container.run = run
        container.stop_probes.set()
        container.stop_probes = threading.Event()
        run.start()
        self._probe(container, run)

    # ------------------------------------------------------------------ probes

    def _probe(self, container: Container, run: ContainerRun) -> None:
        """Begin with the startup probe; the others follow its success."""
        if "startupProbe" in container.spec:
            self._begin_probe(container, run, "startupProbe", lambda ok: self._on_startup(container, run, ok))
        else:
            self._on_startup(container, run, healthy=True)

    def _on_startup(self, container: Container, run: ContainerRun, healthy: bool) -> None:
        if not healthy:
            self._on_failure(container, run, "Startup")
        elif not container.started:
            container.started = True
            container.ready = "readinessProbe" not in container.spec
            self._begin_probe(container, run, "readinessProbe", lambda ok: self._on_readiness(container, run, ok))
            self._begin_probe(container, run, "livenessProbe", lambda ok: self._on_liveness(container, run, ok))
        self._wake.set()

    def _on_readiness(self, container: Container, run: ContainerRun, healthy: bool) -> None:
        container.ready = healthy and run.ended is None and container.run is run
        self._wake.set()

    def _on_liveness(self, container: Container, run: ContainerRun, healthy: bool) -> None:
        if not healthy:
            self._on_failure(container, run, "Liveness")

    def _on_failure(self, container: Container, run: ContainerRun, kind: str) -> None:
        self._emit("Unhealthy", f"{kind} probe failed")
        self._emit("Killing", f"Container {container.name} failed {kind.lower()} probe, will be restarted")
        of_pod = self.pod["spec"].get("terminationGracePeriodSeconds", 30)
        of_probe = container.spec[f"{kind.lower()}Probe"].get("terminationGracePeriodSeconds", of_pod)
        run.stop(float(of_probe))

    def _begin_probe(self, container: Container, run: ContainerRun, kind: str, report: Callable[[bool], None]) -> None:
        spec = container.spec.get(kind)
        if spec is not None:
            check = make_check(spec, container.spec, self._state.pod_address, run.execute)
            Probe(spec, check, report, container.stop_probes).start()

    # ------------------------------------------------------------------ telling the API server

    @property
    def _path(self) -> str:
        metadata = self.pod["metadata"]
        return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"

    def _report(self) -> None:
        """Send the status if it differs from the one sent last."""
        for container in self._state.containers:
            if container.ended is not None:
                container.stop_probes.set()
                container.ready = container.started = False
        status = pod_status(self._state, datetime.now(UTC))
        if status == self._sent or self._services.lost.is_set():
            return
        body = {"metadata": {"uid": self.pod["metadata"]["uid"]}, "status": status}
        try:
            self._services.api.patch(f"{self._path}/status", body, "strategic")
        except NotFound:
            self.gone()
        self._sent = status

    def _remove(self) -> None:
        """The last word of a kubelet: everything has ended, the object may go."""
        conditions = {"uid": self.pod["metadata"]["uid"]}
        self._services.api.delete(self._path, {"gracePeriodSeconds": 0, "preconditions": conditions})


def _initial_state(pod: Object, services: NodeServices) -> PodState:
    inits = [
        Container(spec, "sidecar" if spec.get("restartPolicy") == "Always" else "init")
        for spec in pod["spec"].get("initContainers", [])
    ]
    mains = [Container(spec, "main") for spec in pod["spec"]["containers"]]
    return PodState(
        containers=[*inits, *mains],
        restart_policy=pod["spec"].get("restartPolicy", "Always"),
        started_at=datetime.now(UTC),
        pod_address=services.subnet.take(),
        node_address=services.subnet.node_address,
    )
