"""How many Pods a server has at this moment, where that is not what the spec asks for."""

from __future__ import annotations

from distillery_operator.core.servers import deployed_server
from distillery_operator.core.situation import Situation
from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.manifests.server import Server


def with_possible_replicas(situation: Situation, server: Server, deployment: Manifest) -> Manifest:
    """The Deployment of `server`. Several Pods that a spec with `modelImage` asks for wait for the image where only one
    node can mount the workspace, which they would all need until then."""
    if situation.plan.model_image is None or not server.uses_workspace or situation.volume_is_shared:
        return deployment
    spec = deployment["spec"]
    return {**deployment, "spec": {**spec, "replicas": min(spec["replicas"], _present(situation))}}


def _present(situation: Situation) -> int:
    """How many Pods that use the workspace there are already, and at least one."""
    deployed, seen = deployed_server(situation), situation.observation.deployment
    return max(1, seen.desired) if seen and deployed and deployed.uses_workspace else 1
