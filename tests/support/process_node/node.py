"""A Kubernetes node whose containers are processes of this machine.

Everything above the node is real in the cluster tests; this stands in for kubelet, container runtime and storage, and
does what they would not do on command: run out of memory, evict, fail to pull, vanish.
"""

from __future__ import annotations

import signal
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from cluster_binaries import cache_root
from control_plane import ADDRESS, ControlPlane
from process_node import service_names
from process_node.addresses import Subnet
from process_node.faults import Exit, Fault, Faults, matches
from process_node.image import built_in_images
from process_node.kube_api import ApiError, ApiUnreachable, KubeApi, NotFound, Object, create_unless_there, follow
from process_node.log_server import PORT, LogServer
from process_node.pod_runner import OVER, Disruption, PodRunner
from process_node.pod_status import timestamp
from process_node.provisioner import Provisioner
from process_node.service_names import ServiceNames
from process_node.services import NodeServices

HEARTBEAT_SECONDS = 1.0
# When no node is left, the node controller evicts nothing; a cluster has a second node that takes no pods of ours.
COMPANION = "control-plane"
COMPANION_TAINT = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
LOW_MEMORY = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 12Mi. "
PULL_PROBLEM = "failed to pull and unpack image: failed to resolve reference: pull access denied"
CAPACITY = {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": "250"}


class ProcessNode:
    """A node of a control plane, by default with one GPU; a context manager.

    `images` maps an image's name to how its containers run; another name is an image that cannot be pulled. A
    pattern of a fault is a shell pattern for the pod's name, or for namespace/name if it holds a slash.
    """

    def __init__(self, plane: ControlPlane, folder: Path, name: str = "process-node", gpus: int = 1) -> None:
        self.name = name
        self._gpus = gpus
        self._stop = threading.Event()
        self._runners: dict[str, PodRunner] = {}
        self._mutex = threading.Lock()
        self._api = KubeApi(plane.server, plane.certificates.authority, plane.token("node"))
        self._faults = Faults(self._wake_all)
        self._volumes = Provisioner(self._api, folder / "volumes", self._stop)
        self._services = NodeServices(
            name=name,
            api=self._api,
            binaries=plane.binaries,
            images=built_in_images(),
            faults=self._faults,
            folder=folder,
            subnet=Subnet(cache_root() / "pod-networks"),
            names=ServiceNames(folder / "hosts"),
            variables={"KUBERNETES_SERVICE_HOST": ADDRESS, "KUBERNETES_SERVICE_PORT": str(plane.port)},
        )
        self.images = self._services.images
        address = self._services.subnet.node_address
        self._logs = LogServer(address, plane.certificates, self._log_files, self._has_processes)

    def __enter__(self) -> ProcessNode:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Register the node and run pods from now on."""
        self._logs.start()
        self._register()
        self._volumes.start()
        selector = {"fieldSelector": f"spec.nodeName={self.name}"}
        arguments = [self._api, "/api/v1/pods", self._on_pod, self._stop]
        threading.Thread(target=follow, args=arguments, kwargs=selector, daemon=True).start()
        names = [self._api, service_names.PATH, self._services.names.update, self._stop]
        threading.Thread(target=follow, args=names, daemon=True).start()
        threading.Thread(target=self._send_heartbeats, daemon=True).start()

    def stop(self) -> None:
        """End all containers and give the pod addresses back."""
        self._stop.set()
        for runner in self._all_runners():
            runner.gone()
        for runner in self._all_runners():
            runner.join(timeout=5)
        self._logs.shutdown()
        self._logs.server_close()
        self._services.subnet.close()

    # ------------------------------------------------------------------ looking inside

    def logs(self, namespace: str, pod: str, container: str | None = None) -> str:
        """What a pod's containers wrote, all runs in order; also after the pod has gone."""
        files = self._log_files(namespace, pod, container or "*")
        if not files:
            raise LookupError(f"no container of pod {namespace}/{pod} has started on {self.name}")
        return "".join(file.read_text(errors="replace") for file in files)

    def processes(self, pattern: str) -> list[int]:
        """The process 1 of each running container of the matching pods, as this machine numbers them."""
        return [pid for runner in self._matching(pattern) for pid in runner.pids()]

    def volume(self, namespace: str, claim: str) -> Path:
        """The folder behind a claim."""
        found = self._api.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}")
        return self._volumes.folder_of(found)

    @property
    def hosts(self) -> Path:
        """Its hosts file: the ready Pods by the names of their Services."""
        return self._services.names.file

    # ------------------------------------------------------------------ breaking things

    def fail_start(
        self,
        pattern: str,
        exit_code: int = 137,
        reason: str = "OOMKilled",
        message: str = "",
        times: int = 1,
        after_s: float = 0.0,
    ) -> Fault:
        """Let the next `times` main containers of matching pods end so, after their command ran for `after_s`."""
        return self._faults.fail_start(pattern, Exit(exit_code, reason, message, after_s), times)

    def fail_pull(self, pattern: str, message: str = PULL_PROBLEM) -> Fault:
        """Let image pulls of matching pods fail until the fault is lifted."""
        return self._faults.fail_pull(pattern, message)

    def block_start(self, pattern: str) -> Fault:
        """Keep matching pods in ContainerCreating until the fault is lifted."""
        return self._faults.block_start(pattern)

    def kill(self, pattern: str, sig: int = signal.SIGKILL) -> None:
        """Send a signal to the running main containers of matching pods; raises LookupError when none runs."""
        for runner in self._running(pattern):
            runner.kill(None, sig)

    def oom_kill(self, pattern: str) -> None:
        """Kill the running main containers of matching pods as the kernel does when memory runs out."""
        for runner in self._running(pattern):
            runner.kill(Exit(137, "OOMKilled"), signal.SIGKILL)

    def evict(self, pattern: str, message: str = LOW_MEMORY) -> None:
        """Evict matching pods for lack of memory; raises LookupError when there is none."""
        runners = self._matching(pattern)
        if not runners:
            raise LookupError(f"no pod on {self.name} matches {pattern}")
        for runner in runners:
            runner.disrupt(Disruption("Evicted", message))

    def lose(self) -> None:
        """Vanish: no heartbeat, no report, and all containers end."""
        self._services.lost.set()
        for runner in self._all_runners():
            runner.kill(Exit(255, "Unknown"), signal.SIGKILL)

    def recover(self) -> None:
        """Come back as a machine does that was switched off and on."""
        self._services.lost.clear()
        self._register()
        self._wake_all()

    def heal(self) -> None:
        """Lift all faults, and come back if lost."""
        self._faults.clear()
        if self._services.lost.is_set():
            self.recover()

    def set_gpus(self, count: int) -> None:
        """Change how many GPUs the node offers."""
        self._gpus = count
        self._register()

    # ------------------------------------------------------------------ being a node

    def _on_pod(self, kind: str, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        with self._mutex:
            runner = self._runners.get(uid)
            if kind == "DELETED":
                self._runners.pop(uid, None)
            elif runner is None and pod.get("status", {}).get("phase") not in OVER:
                self._runners[uid] = runner = PodRunner(self._services, pod)
                runner.start()
                return
        if runner is not None and kind == "DELETED":
            runner.gone()
        elif runner is not None:
            runner.update(pod)

    def _all_runners(self) -> list[PodRunner]:
        with self._mutex:
            return list(self._runners.values())

    def _matching(self, pattern: str) -> list[PodRunner]:
        return [runner for runner in self._all_runners() if matches(pattern, runner.pod)]

    def _has_processes(self, namespace: str, pod: str) -> bool:
        return bool(self.processes(f"{namespace}/{pod}"))

    def _running(self, pattern: str) -> list[PodRunner]:
        runners = [runner for runner in self._matching(pattern) if runner.pids()]
        if not runners:
            raise LookupError(f"no running pod on {self.name} matches {pattern}")
        return runners

    def _log_files(self, namespace: str, pod: str, container: str) -> list[Path]:
        """The output of each run of the newest pod of this name, a container's latest run last."""
        folders = (self._services.folder / "pods").glob(f"{namespace}_{pod}_*")
        newest = max(folders, key=lambda folder: folder.stat().st_mtime, default=None)
        if newest is None:
            return []
        return sorted(newest.glob(f"{container}/*.log"), key=lambda file: (file.parent.name, int(file.stem)))

    def _wake_all(self) -> None:
        for runner in self._all_runners():
            runner.wake()

    def _register(self) -> None:
        """Create the Node, or say again that it is ready and what it has."""
        self._register_as(self.name, [], self._gpus)
        self._register_as(COMPANION, [COMPANION_TAINT], 0)

    def _register_as(self, name: str, taints: list[Object], gpus: int) -> None:
        create_unless_there(self._api, "/api/v1/nodes", _node(name))
        self._api.patch(f"/api/v1/nodes/{name}", {"spec": {"taints": taints or None}})
        self._api.patch(f"/api/v1/nodes/{name}/status", {"status": self._status(gpus)}, "strategic")

    def _status(self, gpus: int) -> Object:
        capacity = {**CAPACITY, "nvidia.com/gpu": str(gpus)}
        now = timestamp(datetime.now(UTC))
        times = {"lastHeartbeatTime": now, "lastTransitionTime": now}
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "runs processes", **times}
        return {
            "capacity": capacity,
            "allocatable": capacity,
            "addresses": [{"type": "InternalIP", "address": self._services.subnet.node_address}],
            "conditions": [ready],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": PORT}},
            "nodeInfo": {"kubeletVersion": "v1.37.2", "operatingSystem": "linux", "architecture": "amd64"},
        }

    def _send_heartbeats(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            alive = [COMPANION] if self._services.lost.is_set() else [COMPANION, self.name]
            try:
                for name in alive:
                    self._renew_lease(name)
            except (ApiError, ApiUnreachable):
                continue

    def _renew_lease(self, name: str) -> None:
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        renewed = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": renewed}
        try:
            self._api.patch(f"{leases}/{name}", {"spec": spec})
        except NotFound:
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": name},
                "spec": spec,
            }
            self._api.create(leases, body)


def _node(name: str) -> Object:
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/zone": f"zone-of-{name}",
    }
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
