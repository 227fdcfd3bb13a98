"""From a container's specification to a run that can be started, or to the reason why it has to wait."""

from __future__ import annotations

from collections.abc import Callable

from process_node.container import Container, ContainerRun, RunFiles, Waiting
from process_node.environment import resolve_command, resolve_environment
from process_node.image import Image
from process_node.kube_api import Object
from process_node.references import ReferenceMissing, References
from process_node.sandbox import Mount, Sandbox
from process_node.service_names import host_name
from process_node.services import NodeServices
from process_node.volumes import MountFailed, PodVolumes


class CannotStart(Exception):
    """A container has to wait; `waiting` says why in its status, `event` is the reason of the event that says so."""

    def __init__(self, reason: str, message: str = "", event: str = "") -> None:
        super().__init__(message)
        self.waiting = Waiting(reason, message)
        self.event = event


class ContainerStarter:
    """Prepares the runs of one pod's containers in the order of a kubelet: volumes, image, configuration."""

    def __init__(self, services: NodeServices, pod: Object, pod_address: str) -> None:
        self._services = services
        self._pod_address = pod_address
        self._folder = services.folder / "pods" / pod_folder_name(pod)
        self._references = References(services.api, pod, pod_address, services.subnet.node_address)
        self.volumes = PodVolumes(self._folder / "volumes", pod, services.api, self._references)
        self._hosts = self._folder / "hosts"
        self._folder.mkdir(parents=True, exist_ok=True)
        services.names.add_pod(self._hosts, pod, pod_address)

    def remove(self) -> None:
        """Remove what the pod alone has, but for its logs."""
        self._services.names.remove_pod(self._hosts)
        self.volumes.remove()

    def make_run(self, container: Container, pod: Object, changed: Callable[[], None]) -> ContainerRun:
        """The container's next run, not started yet; raises CannotStart."""
        faults = self._services.faults
        if faults.is_held(pod):
            raise CannotStart("ContainerCreating")
        self._set_up_volumes()
        image = self._pull(container, pod)
        sandbox = self._sandbox(container, pod, image)
        ordered = faults.ordered_exit(pod) if container.kind == "main" else None
        files = self._files(container)
        return ContainerRun(container.spec, sandbox, files, self._services.binaries, ordered, changed)

    def _set_up_volumes(self) -> None:
        try:
            self.volumes.set_up()
        except MountFailed as problem:
            raise CannotStart("ContainerCreating", str(problem), "FailedMount") from problem

    def _pull(self, container: Container, pod: Object) -> Image:
        name = container.spec["image"]
        problem = self._services.faults.pull_error(pod)
        if problem is None and name in self._services.images:
            return self._services.images[name]
        problem = problem or f'failed to pull and unpack image "{name}": not found'
        if container.waiting.reason in ("ErrImagePull", "ImagePullBackOff"):
            text = f'Back-off pulling image "{name}": ErrImagePull: {problem}'
            raise CannotStart("ImagePullBackOff", text, "BackOff")
        raise CannotStart("ErrImagePull", f'Failed to pull image "{name}": {problem}', "Failed")

    def _sandbox(self, container: Container, pod: Object, image: Image) -> Sandbox:
        rules = {**pod["spec"].get("securityContext", {}), **container.spec.get("securityContext", {})}
        user = _checked_user(rules, image)
        try:
            environment = resolve_environment(container.spec, image, self._references, self._services.variables)
        except ReferenceMissing as problem:
            raise CannotStart("CreateContainerConfigError", str(problem), "Failed") from problem
        return Sandbox(
            image=image,
            command=resolve_command(container.spec, image, environment),
            environment={"HOSTNAME": host_name(pod), **environment},
            mounts=[
                *self.volumes.mounts(container.spec, environment),
                Mount(self._hosts, "/etc/hosts", read_only=True),
            ],
            working_folder=container.spec.get("workingDir") or image.working_folder,
            read_only_root=bool(rules.get("readOnlyRootFilesystem")),
            user=user,
            group=rules.get("runAsGroup", user),
            pod_address=self._pod_address,
            host_name=host_name(pod),
        )

    def _files(self, container: Container) -> RunFiles:
        folder = self._folder / container.name
        folder.mkdir(parents=True, exist_ok=True)
        return RunFiles(folder / f"{container.restarts}.log", folder / f"{container.restarts}.message")


def pod_folder_name(pod: Object) -> str:
    """The folder of a pod's logs and volumes; unlike the name alone it belongs to this very pod."""
    metadata = pod["metadata"]
    return f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"


def _checked_user(rules: Object, image: Image) -> int:
    user: int = rules.get("runAsUser", image.user)
    if rules.get("runAsNonRoot") and user == 0:
        text = "container has runAsNonRoot and image will run as root"
        raise CannotStart("CreateContainerConfigError", text, "Failed")
    return user
