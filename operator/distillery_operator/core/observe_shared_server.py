"""What a guest sees of its host's server, and a host of its guests: each reads the objects that the other one writes.

A guest has no Deployment. What stands for it is its ConfigMap, which keeps its adapter as a Deployment keeps a server,
with the host's Pods.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from distillery_operator.core.observation import (
    Guest,
    GuestObjects,
    HostObjects,
    ObservedDeployment,
    ObservedHost,
    Ownership,
    Raw,
)
from distillery_operator.manifests.model_server import ADAPTERS_FILE
from distillery_operator.manifests.server import Server, server_from_annotation
from distillery_operator.planning import names


def observed_host(objects: HostObjects, deployment: ObservedDeployment | None) -> ObservedHost:
    """The host, whose server is `deployment`."""
    return ObservedHost(objects.plan, objects.invalid, objects.stalled, deployment, adapters_in(objects.config_map))


def observed_guest(objects: GuestObjects) -> Guest:
    """A guest and what it has its host load."""
    kept = objects.config_map if _is_of(objects.plan.uid, objects.config_map) else None
    return Guest(objects.plan, _stored(kept, names.SERVER_ANNOTATION), adapters_in(kept))


def guests_deployment(config_map: Raw, ownership: Ownership, host: ObservedHost) -> ObservedDeployment | None:
    """The host's server as far as it serves the student of the guest with this ConfigMap; None where that keeps no
    adapter yet."""
    server = _stored(config_map, names.SERVER_ANNOTATION)
    if server is None:
        return None
    pods = host.deployment or ObservedDeployment(Ownership.TERMINATING, desired=1)
    return replace(
        pods,
        ownership=ownership,
        train_hash=server.model.train_hash,
        model_path=server.model.model_path,
        student_prompt=server.model.student_prompt,
        precision=server.model.precision,
        digest=server.digest,
        server=server,
        fallback=_stored(config_map, names.FALLBACK_ANNOTATION),
        current=pods.current and _has_pods_of(host, server),
        manifest=config_map,
    )


def _has_pods_of(host: ObservedHost, server: Server) -> bool:
    """Whether the host's newest Pods are those that the guest's server means."""
    return host.server is not None and host.server.pod_label == server.pod_label


def _stored(config_map: Raw | None, annotation: str) -> Server | None:
    annotations = (config_map["metadata"].get("annotations") or {}) if config_map else {}
    server = server_from_annotation(annotations.get(annotation, ""))
    return server if server and server.model.adapter else None


def adapters_in(config_map: Raw | None) -> Mapping[str, str]:
    """The adapters that a ConfigMap names; none where somebody has damaged it, which its owner repairs."""
    text = ((config_map.get("data") or {}) if config_map else {}).get(ADAPTERS_FILE, "{}")
    try:
        return {str(name): str(path) for name, path in json.loads(text).items()}
    except (ValueError, AttributeError):
        return {}


def _is_of(uid: str, config_map: Raw | None) -> bool:
    owners = (config_map["metadata"].get("ownerReferences") or ()) if config_map else ()
    return any(owner["uid"] == uid for owner in owners)
