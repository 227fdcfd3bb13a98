"""As much of the Gateway API as the operator uses: HTTPRoutes of one version, with the defaults that its server adds.

No controller looks at them; `accept` says what one would.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cluster import Cluster
from waiting import wait_until

Manifest = dict[str, Any]

_TEXT: Manifest = {"type": "string"}
_PORT: Manifest = {"type": "integer"}


def _object(**properties: Manifest) -> Manifest:
    return {"type": "object", "properties": properties}


def _list(items: Manifest) -> Manifest:
    return {"type": "array", "items": items, "x-kubernetes-list-type": "atomic"}


_PARENT_REFERENCE = _object(
    group={**_TEXT, "default": "gateway.networking.k8s.io"},
    kind={**_TEXT, "default": "Gateway"},
    name=_TEXT,
    namespace=_TEXT,
    sectionName=_TEXT,
    port=_PORT,
)
_PATH = _object(type={**_TEXT, "default": "PathPrefix"}, value={**_TEXT, "default": "/"})
_BACKEND = _object(
    group={**_TEXT, "default": ""},
    kind={**_TEXT, "default": "Service"},
    name=_TEXT,
    port=_PORT,
    weight={"type": "integer", "default": 1},
)
_RULE = _object(matches=_list(_object(path=_PATH)), timeouts=_object(request=_TEXT), backendRefs=_list(_BACKEND))
_CRD: Manifest = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "httproutes.gateway.networking.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, a part of the API for tests"},
    },
    "spec": {
        "group": "gateway.networking.k8s.io",
        "scope": "Namespaced",
        "names": {"kind": "HTTPRoute", "listKind": "HTTPRouteList", "plural": "httproutes", "singular": "httproute"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": _object(
                        spec=_object(parentRefs=_list(_PARENT_REFERENCE), hostnames=_list(_TEXT), rules=_list(_RULE)),
                        status={"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    )
                },
            }
        ],
    },
}


@contextmanager
def gateway_api(cluster: Cluster) -> Iterator[None]:
    """The cluster serves HTTPRoutes for the length of the block."""
    cluster.apply(_CRD)
    try:
        wait_until(lambda: cluster.kubectl("get", "httproutes", "-A") == "", 30, "HTTPRoutes to be served")
        yield
    finally:
        cluster.kubectl("delete", "crd", _CRD["metadata"]["name"], "--timeout=30s")


def accept(cluster: Cluster, namespace: str, name: str) -> None:
    """What a Gateway's controller says of a route that it has taken up."""
    route = cluster.get("httproute", name, namespace)
    generation, references = route["metadata"]["generation"], route["spec"]["parentRefs"]
    said = [{"type": each, "status": "True", "observedGeneration": generation} for each in ("Accepted", "ResolvedRefs")]
    parents = [{"parentRef": each, "controllerName": "example.com/gateway", "conditions": said} for each in references]
    patch = json.dumps({"status": {"parents": parents}})
    cluster.kubectl("patch", "httproute", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
