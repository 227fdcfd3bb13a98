"""Start a container's process in a view of its own, with bubblewrap.

The process sees the system's folders and its image's read-only, its volumes where they are mounted, and nothing else
of this machine's files; it is process 1, runs as the pod's user and has no capability. The network is the machine's,
but "all addresses" means the pod's own (see pod_address.c).
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from cluster_binaries import Binaries
from process_node.image import Image

SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib64")
SYSTEM_SETTINGS = (
    "ssl",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "nsswitch.conf",
    "mime.types",
)
SHIM_PATH = "/.process-node/pod_address.so"


@dataclass(frozen=True)
class Mount:
    """A file or folder of this machine at a path in the container."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class Sandbox:
    """Everything that one container's process is started with; `environment` is complete."""

    image: Image
    command: list[str]
    environment: dict[str, str]
    mounts: list[Mount] = field(default_factory=list)
    working_folder: str = "/"
    read_only_root: bool = False
    user: int = 10001
    group: int = 10001
    pod_address: str = "127.0.0.1"
    host_name: str = "pod"


class SandboxedProcess:
    """A started container process.

    It ends when the thread that started it ends: the kernel's parent-death signal follows threads.
    """

    def __init__(self, binaries: Binaries, sandbox: Sandbox, log: BinaryIO) -> None:
        read_end, write_end = os.pipe()
        arguments = _argument_file(_options(binaries, sandbox))
        handles = ["--info-fd", str(write_end), "--args", str(arguments)]
        self._process = subprocess.Popen(
            [str(binaries.bubblewrap), *handles, "--", *sandbox.command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={},
            pass_fds=(write_end, arguments),
            start_new_session=True,
        )
        os.close(write_end)
        os.close(arguments)
        self._starter = os.path.realpath(binaries.bubblewrap)
        self.pid = _child_pid(read_end)

    def wait(self) -> int:
        """Wait for the end and return the exit code, 128 + the signal's number if a signal ended it."""
        code = self._process.wait()
        return code if code >= 0 else 128 - code

    def signal(self, number: int) -> None:
        """Send a signal to the container's process 1, once it runs the container's command."""
        if self.pid is None or self._process.poll() is not None:
            return
        self._wait_until_command_runs()
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return

    def execute(self, command: list[str], timeout_s: float) -> bool:
        """Run a command in the container's view; whether it ended with 0 in time."""
        enter = ["nsenter", "--target", str(self.pid), "--user", "--mount", "--pid", "--ipc", "--uts"]
        try:
            environment = _environment_of(self.pid)
            outcome = subprocess.run(
                [*enter, "--preserve-credentials", "--", *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except (subprocess.TimeoutExpired, OSError):
            return False
        return outcome.returncode == 0

    def _wait_until_command_runs(self) -> None:
        """Before that, bubblewrap itself is process 1 and a signal would be lost."""
        for _ in range(200):
            try:
                if os.readlink(f"/proc/{self.pid}/exe") != self._starter:
                    return
            except OSError:
                return
            time.sleep(0.01)


def _environment_of(pid: int | None) -> dict[str, str]:
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(entry.decode(errors="replace").split("=", 1) for entry in entries if b"=" in entry)


def _argument_file(options: list[str]) -> int:
    """An open file with the options: on the command line, every user of the machine could read the secrets in them."""
    descriptor = os.memfd_create("bubblewrap-arguments")
    os.write(descriptor, b"".join(option.encode() + b"\0" for option in options))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _child_pid(read_end: int) -> int | None:
    """bubblewrap tells the process's id as JSON, or nothing when it fails before."""
    with os.fdopen(read_end) as information:
        text = information.read()
    return int(json.loads(text)["child-pid"]) if text.strip() else None


def _options(binaries: Binaries, sandbox: Sandbox) -> list[str]:
    return [
        *("--die-with-parent", "--as-pid-1", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"),
        *("--uid", str(sandbox.user), "--gid", str(sandbox.group), "--cap-drop", "ALL", "--clearenv"),
        *_root(binaries, sandbox),
        *_mount_options([*_image_mounts(sandbox), *sandbox.mounts]),
        *(("--remount-ro", "/") if sandbox.read_only_root else ()),
        *("--chdir", sandbox.working_folder, "--hostname", sandbox.host_name),
        *_environment_options(binaries, sandbox),
    ]


def _root(binaries: Binaries, sandbox: Sandbox) -> list[str]:
    options = ["--tmpfs", "/", "--proc", "/proc", "--dev", "/dev", "--dir", "/tmp", "--dir", "/etc"]
    for folder in map(Path, SYSTEM_FOLDERS):
        if folder.is_symlink():
            options += ["--symlink", os.readlink(folder), str(folder)]
        elif folder.exists():
            options += ["--ro-bind", str(folder), str(folder)]
    for name in SYSTEM_SETTINGS:
        options += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return [*options, "--ro-bind", str(binaries.bind_shim), SHIM_PATH]


def _image_mounts(sandbox: Sandbox) -> list[Mount]:
    """The image's folders: an image knows nothing of a volume above them, such as one at /tmp."""
    return [Mount(folder, str(folder), read_only=True) for folder in sandbox.image.folders]


def _mount_options(mounts: list[Mount]) -> list[str]:
    """Outer mounts first, so that an inner one is not hidden."""
    options: list[str] = []
    for mount in sorted(mounts, key=lambda each: each.target.count("/")):
        options += ["--ro-bind" if mount.read_only else "--bind", str(mount.source), mount.target]
    return options


def _environment_options(binaries: Binaries, sandbox: Sandbox) -> list[str]:
    own = {"LD_PRELOAD": SHIM_PATH, "PROCESS_NODE_POD_ADDRESS": sandbox.pod_address}
    options: list[str] = []
    for name, value in {**sandbox.environment, **own}.items():
        options += ["--setenv", name, value]
    return options
