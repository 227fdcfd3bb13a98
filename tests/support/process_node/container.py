"""One container of a pod: its runs, one after the other, and what is known of it between them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cluster_binaries import Binaries
from process_node.faults import Exit
from process_node.kube_api import Object
from process_node.sandbox import Mount, Sandbox, SandboxedProcess

MESSAGE_BYTES = 4096
LOG_TAIL_BYTES = 2048
LOG_TAIL_LINES = 80
DEFAULT_MESSAGE_PATH = "/dev/termination-log"
START_ERROR = 128


@dataclass(frozen=True)
class Ended:
    """How one run ended."""

    code: int
    reason: str
    message: str
    started_at: datetime
    finished_at: datetime
    container_id: str


@dataclass(frozen=True)
class RunFiles:
    """Where one run writes: its output, and its last words."""

    log: Path
    message: Path


class ContainerRun(threading.Thread):
    """One run of a container; the thread lives as long as its process, which the kernel would end with it.

    `changed` is called when the run starts and when it has ended.
    """

    def __init__(
        self,
        spec: Object,
        sandbox: Sandbox,
        files: RunFiles,
        binaries: Binaries,
        ordered: Exit | None,
        changed: Callable[[], None],
    ) -> None:
        super().__init__(name=f"container {spec['name']}", daemon=True)
        self.sandbox = sandbox
        self.files = files
        self.started_at = datetime.now(UTC)
        self.ended: Ended | None = None
        self._spec, self._binaries, self._ordered, self._changed = spec, binaries, ordered, changed
        self._process: SandboxedProcess | None = None
        self._has_process = threading.Event()
        self._exit: Exit | None = None
        self._stopping = False

    @property
    def id(self) -> str:
        """What stands in the status as containerID."""
        return f"process://{self.files.log.parent.parent.name}-{self._spec['name']}-{self.files.log.stem}"

    @property
    def pid(self) -> int | None:
        """The container's process 1 as this machine numbers it; None once it has ended."""
        return self._process.pid if self._process is not None and self.ended is None else None

    def run(self) -> None:
        """Start the process and wait for its end."""
        if self._ordered is not None and self._ordered.after_s == 0:
            self._end(self._ordered)
            return
        self.files.message.touch()
        mounts = [*self.sandbox.mounts, Mount(self.files.message, _message_path(self._spec))]
        sandbox = Sandbox(**{**vars(self.sandbox), "mounts": mounts})
        with self.files.log.open("ab") as log:
            self._process = SandboxedProcess(self._binaries, sandbox, log)
        self._has_process.set()
        self._changed()
        if self._ordered is not None:
            threading.Timer(self._ordered.after_s, self.kill, [self._ordered]).start()
        code = self._process.wait()
        self._end(self._exit or self._how_it_ended(code))

    def stop(self, grace_s: float) -> None:
        """Ask the process to end, and end it after the grace period; a second call changes nothing."""
        if self._stopping or self.ended is not None:
            return
        self._stopping = True
        threading.Thread(target=self._stop_after, args=[grace_s], daemon=True).start()

    def kill(self, end: Exit | None = None, number: int = signal.SIGKILL) -> None:
        """Send a signal now; `end` is what is reported in place of what the process makes of it."""
        self._exit = end
        if self._has_process.wait(timeout=10) and self._process is not None:
            self._process.signal(number)

    def _stop_after(self, grace_s: float) -> None:
        if not self._has_process.wait(timeout=10) or self._process is None:
            return
        self._run_pre_stop(self._process)
        if grace_s > 0:
            self._process.signal(signal.SIGTERM)
            self.join(grace_s)
        self._process.signal(signal.SIGKILL)

    def _run_pre_stop(self, process: SandboxedProcess) -> None:
        hook = self._spec.get("lifecycle", {}).get("preStop", {})
        if "sleep" in hook:
            self.join(float(hook["sleep"]["seconds"]))
        elif "exec" in hook:
            process.execute(hook["exec"]["command"], timeout_s=30)

    def execute(self, command: list[str], timeout_s: float) -> bool:
        """Run a command beside the process, in its view; whether it ended with 0."""
        return self._process is not None and self._process.execute(command, timeout_s)

    def _how_it_ended(self, code: int) -> Exit:
        failure = _starter_failure(self.files.log) if code == 1 else None
        if failure is not None:
            return Exit(START_ERROR, "StartError", f"failed to create containerd task: {failure}")
        return Exit(code, "Completed" if code == 0 else "Error")

    def _end(self, end: Exit) -> None:
        message = end.message or self._last_words(end.code)
        self.ended = Ended(end.code, end.reason, message, self.started_at, datetime.now(UTC), self.id)
        self._has_process.set()
        self._changed()

    def _last_words(self, code: int) -> str:
        words = _tail(self.files.message, MESSAGE_BYTES)
        if words or code == 0 or self._spec.get("terminationMessagePolicy") != "FallbackToLogsOnError":
            return words
        return "".join(_tail(self.files.log, LOG_TAIL_BYTES).splitlines(keepends=True)[-LOG_TAIL_LINES:])


@dataclass
class Waiting:
    """Why a container does not run yet."""

    reason: str
    message: str = ""


@dataclass
class Container:
    """A container of a pod's specification and its state; `kind` is init, sidecar or main."""

    spec: Object
    kind: str
    run: ContainerRun | None = None
    waiting: Waiting = field(default_factory=lambda: Waiting("ContainerCreating"))
    last_ended: Ended | None = None
    restarts: int = 0
    start_not_before: float = 0.0
    started: bool = False
    ready: bool = False
    stop_probes: threading.Event = field(default_factory=threading.Event)

    @property
    def name(self) -> str:
        """The container's name."""
        name: str = self.spec["name"]
        return name

    @property
    def ended(self) -> Ended | None:
        """How the current run ended, if it has."""
        return self.run.ended if self.run is not None else None

    @property
    def is_running(self) -> bool:
        """Whether a process runs now."""
        return self.run is not None and self.run.ended is None

    @property
    def has_succeeded(self) -> bool:
        """Whether the last run ended with 0."""
        return self.ended is not None and self.ended.code == 0

    def is_restarted(self, pod_policy: str) -> bool:
        """Whether the end of a run is followed by another one."""
        if self.kind == "sidecar" or (self.kind == "main" and pod_policy == "Always"):
            return True
        return pod_policy != "Never" and not self.has_succeeded

    def put_away_run(self) -> None:
        """Make room for the next run."""
        if self.run is not None and self.run.ended is not None:
            self.last_ended, self.run = self.run.ended, None
            self.restarts += 1


def _message_path(spec: Object) -> str:
    return spec.get("terminationMessagePath") or DEFAULT_MESSAGE_PATH


def _tail(path: Path, size: int) -> str:
    """The last bytes of a file, as the kubelet cuts messages."""
    if not path.exists():
        return ""
    return path.read_bytes()[-size:].decode(errors="replace")


def _starter_failure(log: Path) -> str | None:
    with log.open("rb") as lines:
        first = lines.readline().decode(errors="replace").strip()
    return first.removeprefix("bwrap: ") if first.startswith("bwrap: ") else None
