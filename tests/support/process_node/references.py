"""Read what a pod refers to - Secrets, ConfigMaps, its own fields - in the kubelet's words when it is not there."""

from __future__ import annotations

import base64
import math
import re
from decimal import Decimal
from typing import Any

from kubernetes.utils import parse_quantity

from process_node.kube_api import KubeApi, NotFound, Object


class ReferenceMissing(Exception):
    """A Secret, a ConfigMap or a key that a pod needs does not exist; the text is the kubelet's."""


class References:
    """The objects that one pod's containers and volumes may name."""

    def __init__(self, api: KubeApi, pod: Object, pod_address: str, node_address: str) -> None:
        self._api = api
        self._pod = pod
        self._computed = {
            "status.podIP": pod_address,
            "status.podIPs": pod_address,
            "status.hostIP": node_address,
            "status.hostIPs": node_address,
        }

    @property
    def namespace(self) -> str:
        """The pod's namespace."""
        namespace: str = self._pod["metadata"]["namespace"]
        return namespace

    def secret(self, name: str, optional: bool = False) -> dict[str, bytes]:
        """A Secret's values; raises ReferenceMissing unless it may be missing."""
        return self._entries("secret", "secrets", name, optional)

    def config_map(self, name: str, optional: bool = False) -> dict[str, bytes]:
        """A ConfigMap's values; raises ReferenceMissing unless it may be missing."""
        return self._entries("configmap", "configmaps", name, optional)

    def secret_key(self, reference: Object) -> str | None:
        """The value of a secretKeyRef; None when it is missing and may be."""
        values = self.secret(reference["name"], bool(reference.get("optional")))
        return self._key(values, reference, "Secret")

    def config_map_key(self, reference: Object) -> str | None:
        """The value of a configMapKeyRef; None when it is missing and may be."""
        values = self.config_map(reference["name"], bool(reference.get("optional")))
        return self._key(values, reference, "ConfigMap")

    def field(self, path: str) -> str:
        """The value of a fieldRef, such as metadata.name or metadata.labels['app']."""
        if path in self._computed:
            return self._computed[path]
        entry = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
        if entry:
            return str(self._pod["metadata"].get(entry[1], {}).get(entry[2], ""))
        value: Any = self._pod
        for part in path.split("."):
            value = value.get(part, "") if isinstance(value, dict) else ""
        return _lines(value) if isinstance(value, dict) else str(value)

    def resource(self, container: Object, reference: Object) -> str:
        """The value of a resourceFieldRef, such as limits.memory, in units of its divisor."""
        kind, _, name = reference["resource"].partition(".")
        amount = container.get("resources", {}).get(kind, {}).get(name, "0")
        divisor = reference.get("divisor", "1")
        units: Decimal = parse_quantity(amount) / parse_quantity("1" if divisor in ("0", "") else divisor)
        return str(math.ceil(units))

    def service_account_token(self, audience: str | None, seconds: int) -> str:
        """A token of the pod's service account that is bound to the pod."""
        account = self._pod["spec"].get("serviceAccountName", "default")
        bound = {
            "kind": "Pod",
            "apiVersion": "v1",
            "name": self.field("metadata.name"),
            "uid": self.field("metadata.uid"),
        }
        spec = {"audiences": [audience] if audience else [], "expirationSeconds": seconds, "boundObjectRef": bound}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = self._api.create(f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}/token", body)
        return str(answer["status"]["token"])

    def _entries(self, word: str, resource: str, name: str, optional: bool) -> dict[str, bytes]:
        try:
            found = self._api.get(f"/api/v1/namespaces/{self.namespace}/{resource}/{name}")
        except NotFound:
            if optional:
                return {}
            raise ReferenceMissing(f'{word} "{name}" not found') from None
        encoded = found.get("data") or {}
        if resource == "secrets":
            return {key: base64.b64decode(value) for key, value in encoded.items()}
        binary = {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
        return {key: value.encode() for key, value in encoded.items()} | binary

    def _key(self, values: dict[str, bytes], reference: Object, kind: str) -> str | None:
        if reference["key"] in values:
            return values[reference["key"]].decode()
        if reference.get("optional"):
            return None
        raise ReferenceMissing(f"couldn't find key {reference['key']} in {kind} {self.namespace}/{reference['name']}")


def _lines(values: dict[str, str]) -> str:
    return "\n".join(f'{key}="{value}"' for key, value in sorted(values.items()))
