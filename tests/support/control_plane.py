"""A real Kubernetes control plane for the length of a test run: etcd, API server, controllers, scheduler.

What the operator may do, what a schema accepts and how a Job fails is decided by Kubernetes' own programs, on free
ports of the loopback interface; nodes are another matter (see process_node).

    python tests/support/control_plane.py build     build and fetch the programs, for make and CI
    python tests/support/control_plane.py up        start one for a person, with a node; ends with Ctrl-C
"""

from __future__ import annotations

import datetime
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType

import requests

from certificates import write_certificates
from cluster import Cluster, write_kubeconfig
from cluster_binaries import Binaries, BinariesUnavailable, ensure_binaries
from waiting import wait_until

ADDRESS = "127.0.0.1"
SERVICE_RANGE = "10.0.0.0/24"
START_SECONDS = 60.0
USERS = {
    "admin": ("admin", "system:masters"),
    "controllers": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "node": ("process-node", "system:masters"),
}

API_SERVER_OPTIONS = {
    "bind-address": ADDRESS,
    "advertise-address": ADDRESS,
    "authorization-mode": "RBAC",
    "service-account-issuer": "https://kubernetes.default.svc",
    "service-cluster-ip-range": SERVICE_RANGE,
    "endpoint-reconciler-type": "none",  # it refuses a loopback address as the endpoint of `kubernetes`
    "default-not-ready-toleration-seconds": "2",
    "default-unreachable-toleration-seconds": "2",
}
CONTROLLER_OPTIONS = {
    "bind-address": ADDRESS,
    "secure-port": "0",
    "leader-elect": "false",
    "use-service-account-credentials": "true",
    "node-monitor-period": "1s",
    "node-monitor-grace-period": "10s",
    "node-eviction-rate": "10",
    "kube-api-qps": "200",
    "kube-api-burst": "400",
    "concurrent-job-syncs": "10",
}
SCHEDULER_OPTIONS = {
    "bind-address": ADDRESS,
    "secure-port": "0",
    "leader-elect": "false",
    "kube-api-qps": "200",
    "kube-api-burst": "400",
}


class ControlPlane(Cluster):
    """etcd, kube-apiserver, kube-controller-manager and kube-scheduler as child processes.

    They end with this process, whichever way it ends. Use it as a context manager, or call start and stop.
    """

    def __init__(self, binaries: Binaries, folder: Path) -> None:
        super().__init__(folder / "admin.kubeconfig", binaries, folder)
        self.port, self._etcd_port, self._etcd_peer_port = _free_ports(3)
        self.server = f"https://{ADDRESS}:{self.port}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self.certificates = write_certificates(folder / "pki", (ADDRESS,), datetime.datetime.now(datetime.UTC))
        self._tokens = _write_tokens(folder / "tokens.csv")

    def __enter__(self) -> ControlPlane:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start all four and return when the API server answers and namespaces get their service account."""
        for user in USERS:
            write_kubeconfig(self.folder / f"{user}.kubeconfig", self._connection(), self.token(user))
        self._spawn("etcd", self._etcd_command())
        self.start_api_server()
        self._spawn("kube-controller-manager", self._controllers_command())
        self._spawn("kube-scheduler", self._scheduler_command())
        wait_until(lambda: self.get("serviceaccount", "default", "default"), START_SECONDS, "the controllers")

    def stop(self) -> None:
        """End all processes: there is nothing to save."""
        for name in reversed(list(self._processes)):
            self._end(name)

    def start_api_server(self) -> None:
        """Start the API server, on the same port and data as before, and wait until it is ready."""
        self._spawn("kube-apiserver", self._api_server_command())
        wait_until(lambda: self._has_ended("kube-apiserver") or self._is_ready(), START_SECONDS, "the API server")
        self._raise_if_ended("kube-apiserver")

    def stop_api_server(self) -> None:
        """Stop the API server without warning, as a crash would."""
        self._end("kube-apiserver")

    def stop_controllers(self) -> None:
        """Stop kube-controller-manager: objects stay as they are written."""
        self._end("kube-controller-manager")

    def stop_scheduler(self) -> None:
        """Stop kube-scheduler: Pods stay as they are written."""
        self._end("kube-scheduler")

    def token(self, user: str) -> str:
        """The bearer token of one of USERS."""
        return self._tokens[user]

    @property
    def process_ids(self) -> dict[str, int]:
        """Of each program that runs."""
        return {name: process.pid for name, process in self._processes.items()}

    def log_path(self, program: str) -> Path:
        """Where a program's output goes."""
        return self.folder / f"{program}.log"

    def _connection(self) -> dict[str, str]:
        return {"server": self.server, "certificate-authority": str(self.certificates.authority)}

    def _is_ready(self) -> bool:
        answer = requests.get(f"{self.server}/readyz", verify=str(self.certificates.authority), timeout=5)
        return answer.status_code == 200

    def _has_ended(self, name: str) -> bool:
        return self._processes[name].poll() is not None

    def _raise_if_ended(self, name: str) -> None:
        if self._has_ended(name):
            last_lines = self.log_path(name).read_text(errors="replace").splitlines()[-5:]
            raise RuntimeError(f"{name} ended: " + "\n".join(last_lines))

    def _spawn(self, name: str, command: list[str]) -> None:
        """Start a program that the kernel ends when the thread that started it does."""
        bound_to_us = ["setpriv", "--pdeathsig", "KILL", "--", *command]
        with self.log_path(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                bound_to_us, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder, start_new_session=True
            )

    def _end(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()

    def _etcd_command(self) -> list[str]:
        client, peer = f"http://{ADDRESS}:{self._etcd_port}", f"http://{ADDRESS}:{self._etcd_peer_port}"
        options = {
            "data-dir": str(self.folder / "etcd"),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "log-level": "warn",
        }
        return [*self._command("etcd", options), "--unsafe-no-fsync"]

    def _api_server_command(self) -> list[str]:
        pki = self.certificates
        options = {
            "etcd-servers": f"http://{ADDRESS}:{self._etcd_port}",
            "secure-port": str(self.port),
            "tls-cert-file": str(pki.server_certificate),
            "tls-private-key-file": str(pki.server_key),
            "service-account-key-file": str(pki.service_account_key),
            "service-account-signing-key-file": str(pki.service_account_key),
            "token-auth-file": str(self.folder / "tokens.csv"),
        }
        return self._command("kube-apiserver", API_SERVER_OPTIONS | options)

    def _controllers_command(self) -> list[str]:
        options = {
            "kubeconfig": str(self.folder / "controllers.kubeconfig"),
            "service-account-private-key-file": str(self.certificates.service_account_key),
            "root-ca-file": str(self.certificates.authority),
        }
        return self._command("kube-controller-manager", CONTROLLER_OPTIONS | options)

    def _scheduler_command(self) -> list[str]:
        options = {"kubeconfig": str(self.folder / "scheduler.kubeconfig")}
        return self._command("kube-scheduler", SCHEDULER_OPTIONS | options)

    def _command(self, program: str, options: dict[str, str]) -> list[str]:
        return [str(self.binaries.path(program)), *(f"--{name}={value}" for name, value in options.items())]


def _write_tokens(path: Path) -> dict[str, str]:
    """Write the file that the API server reads bearer tokens from: token, user, uid, groups."""
    tokens = {name: os.urandom(16).hex() for name in USERS}
    lines = [f'{tokens[name]},{user},{user},"{group}"' for name, (user, group) in USERS.items()]
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n")
    return tokens


def _free_ports(count: int) -> list[int]:
    """Ports that are free now, all different."""
    sockets = [socket.create_server((ADDRESS, 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def main(arguments: list[str]) -> int:
    """Build the programs, or also run a control plane with a node until Ctrl-C."""
    if arguments not in (["build"], ["up"]):
        print("usage: control_plane.py build | up", file=sys.stderr)
        return 2
    try:
        binaries = ensure_binaries(lambda text: print(text, file=sys.stderr))
    except BinariesUnavailable as problem:
        print(problem, file=sys.stderr)
        return 1
    print(f"The programs are in {binaries.folder / 'bin'}")
    if arguments == ["up"]:
        _run_until_interrupted(binaries)
    return 0


def _run_until_interrupted(binaries: Binaries) -> None:
    from process_node.node import ProcessNode

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    folder = Path(tempfile.mkdtemp(prefix="distillery-cluster-"))
    started = time.monotonic()
    with ControlPlane(binaries, folder) as plane, ProcessNode(plane, folder / "node"):
        print(f"Ready after {time.monotonic() - started:.0f} s. Ctrl-C ends it.\nKUBECONFIG={plane.kubeconfig}")
        ended.wait()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
