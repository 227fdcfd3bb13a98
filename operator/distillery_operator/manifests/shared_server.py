"""A student on the server of another Distillation, its host: an adapter in Pods that are the host's.

What a Deployment keeps of a server is kept in the guest's ConfigMap: which adapter serves, and which one did before.
"""

from __future__ import annotations

from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.manifests.pod_template_merge import merged_map
from distillery_operator.manifests.server import ServedModel, Server, with_servers
from distillery_operator.manifests.serving import adapters_config_map, identity_of, server_annotations, verified_digest
from distillery_operator.manifests.vllm import MOST_ADAPTERS
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan

MOST_STUDENTS = MOST_ADAPTERS - 1
"""Students on one server, that of its host among them, so that one of them can be swapped."""


def guests_server(plan: Plan, host: Server | None, served: ServedModel) -> Server:
    """The server of `served` in the Pods of `host`; None for Pods that are not known yet. Its template is only what
    tells these Pods from others."""
    label = host.pod_label if host else ""
    template = {
        "metadata": {"labels": {names.SERVER_LABEL: label}},
        "spec": {"containers": [{"name": names.STAGE_CONTAINER, "image": host.image if host else None}]},
    }
    return Server(served, identity_of(plan, served), template, verified_digest(label, served))


def guests_config_map(plan: Plan, server: Server, fallback: Server | None) -> Manifest:
    """The guest's adapter by its names, for its host to load."""
    assert server.model.adapter is not None  # noqa: S101 - a guest serves nothing else
    manifest = adapters_config_map(plan, server.model.adapter)
    annotated = merged_map(manifest, {"metadata": {"annotations": server_annotations(server)}})
    return with_servers(annotated, server, fallback)
