"""A cluster as the tests see it: an admin's kubeconfig, and kubectl and helm that use it.

The control plane that the tests start is one; any other (`KUBECONFIG_TEST=<file>`) will do for the tests that break
no node.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from cluster_binaries import Binaries
from waiting import wait_until

Manifest = dict[str, Any]


class CommandFailed(Exception):
    """kubectl or helm ended with an error; the text is what it wrote to standard error."""

    def __init__(self, command: list[str], stderr: str) -> None:
        super().__init__(stderr.strip() or f"{command[0]} failed without a word")
        self.command = command


class Cluster:
    """A running cluster and the tools to speak to it as an administrator.

    `folder` takes the files that are written for it, such as the kubeconfigs of service accounts.
    """

    def __init__(self, kubeconfig: Path, binaries: Binaries, folder: Path) -> None:
        self.kubeconfig = kubeconfig
        self.binaries = binaries
        self.folder = folder

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as administrator and return what it prints; raises CommandFailed with its error text."""
        return self._run("kubectl", *arguments, stdin=stdin)

    def helm(self, *arguments: str, stdin: str | None = None) -> str:
        """Run helm as administrator and return what it prints; raises CommandFailed with its error text."""
        return self._run("helm", *arguments, stdin=stdin)

    def apply(self, manifest: str | Manifest | list[Manifest], namespace: str | None = None, *flags: str) -> str:
        """Apply manifests (YAML text or dicts) with kubectl; `flags` such as --dry-run=server go along."""
        where = ("-n", namespace) if namespace else ()
        return self.kubectl("apply", *where, *flags, "-f", "-", stdin=_as_yaml(manifest))

    def get(self, kind: str, name: str | None = None, namespace: str | None = None) -> dict[str, Any]:
        """One object, or the list of a kind, as a dict; raises CommandFailed when it is not there."""
        where = ("-n", namespace) if namespace else ()
        named = (name,) if name else ()
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, *named, *where, "-o", "json"))
        return found

    def kubeconfig_for(self, service_account: str, namespace: str, server: str | None = None) -> Path:
        """Write a kubeconfig that acts as a service account with a token of 24 hours.

        `server` replaces the address, so that a test can put a proxy between one client and the API server.
        """
        token = self.kubectl("create", "token", service_account, "-n", namespace, "--duration=24h").strip()
        admin = json.loads(self.kubectl("config", "view", "--minify", "--raw", "--flatten", "-o", "json"))
        path = self.folder / f"{namespace}-{service_account}.kubeconfig"
        if server is not None:
            path = path.with_suffix(f".{server.rsplit(':', 1)[-1]}.kubeconfig")
        write_kubeconfig(path, {**admin["clusters"][0]["cluster"], **({"server": server} if server else {})}, token)
        return path

    def service_url(self, namespace: str, name: str, port: str | None = None, seconds: float = 30.0) -> str:
        """The URL of a Service's first ready endpoint, waited for; `port` is a port's name, by default the first."""
        label = f"kubernetes.io/service-name={name}"

        def find() -> str | None:
            found = json.loads(self.kubectl("get", "endpointslices", "-n", namespace, "-l", label, "-o", "json"))
            return first_ready_url(found["items"], port)

        return wait_until(find, seconds, f"a ready endpoint of the Service {namespace}/{name}")

    def _run(self, program: str, *arguments: str, stdin: str | None) -> str:
        command = [str(self.binaries.path(program)), *arguments]
        environment = {
            "KUBECONFIG": str(self.kubeconfig),
            "HOME": str(self.folder),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
        }
        outcome = subprocess.run(command, input=stdin, env=environment, capture_output=True, text=True, check=False)
        if outcome.returncode != 0:
            raise CommandFailed(command, outcome.stderr)
        return outcome.stdout


def first_ready_url(slices: list[Manifest], port: str | None = None) -> str | None:
    """The URL of the first ready address in EndpointSlices; None while there is none."""
    for each in slices:
        numbers = [entry["port"] for entry in each.get("ports") or [] if port is None or entry.get("name") == port]
        addresses = [
            endpoint["addresses"][0]
            for endpoint in each.get("endpoints") or []
            if endpoint.get("conditions", {}).get("ready")
        ]
        if numbers and addresses:
            return f"http://{addresses[0]}:{numbers[0]}"
    return None


def write_kubeconfig(path: Path, cluster: dict[str, Any], token: str) -> None:
    """Write a kubeconfig of one cluster (server, certificate authority) and one bearer token, readable by its owner."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": cluster}],
        "users": [{"name": "tests", "user": {"token": token}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        "current-context": "tests",
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(content))


def _as_yaml(manifest: str | Manifest | list[Manifest]) -> str:
    if isinstance(manifest, str):
        return manifest
    return yaml.safe_dump_all(manifest if isinstance(manifest, list) else [manifest])
