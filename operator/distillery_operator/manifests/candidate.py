"""A candidate beside the server that it is to replace: a second Deployment, and a Service that reaches it alone.

Its Pods have all labels of the server's Pods, so that one Service can select both, and one more.
"""

from __future__ import annotations

from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.manifests.pod_template import VolumeUse
from distillery_operator.manifests.pod_template_merge import merged_map
from distillery_operator.manifests.server import Server, with_servers
from distillery_operator.manifests.serving import service, serving_deployment
from distillery_operator.manifests.settings import ManifestSettings
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan


def candidate_deployment(plan: Plan, settings: ManifestSettings, candidate: Server, replicas: int) -> Manifest:
    """The Deployment of the candidate."""
    deployment = with_servers(
        serving_deployment(plan, settings, candidate, VolumeUse(shared=True)), candidate, fallback=None
    )
    labels = names.candidate_labels(plan.name)
    return merged_map(
        deployment,
        {
            "metadata": {"name": names.candidate_name(plan.name)},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}},
            },
        },
    )


def candidate_service(plan: Plan) -> Manifest:
    """The Service of the candidate alone."""
    return service(plan, names.candidate_name(plan.name), names.candidate_labels(plan.name))


def stable_service(plan: Plan, stable: Server) -> Manifest:
    """The server's Service while the candidate gets no requests."""
    selector = {**names.serving_labels(plan.name), names.SERVER_LABEL: stable.pod_label}
    return service(plan, names.serving_name(plan.name), selector)
