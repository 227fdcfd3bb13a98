"""A training on several nodes: an indexed Job with a Pod for each node, and a headless Service by which the others find
the Pod of number 0, where torchrun has them meet."""

from __future__ import annotations

from distillery_api.run_config import NODE_ADDRESS_VARIABLE, NODES_VARIABLE, RENDEZVOUS_PORT, RENDEZVOUS_VARIABLE
from distillery_api.stage import Stage
from distillery_operator.manifests.child_metadata import Manifest, child_labels, owned_metadata
from distillery_operator.planning import names
from distillery_operator.planning.plan import Plan


def node_count(plan: Plan, stage: Stage) -> int:
    """Number of Pods that the stage has at the same time."""
    return (plan.spec.training.nodes or 1) if stage is Stage.TRAIN else 1


def completions(nodes: int) -> Manifest:
    """The fields of a Job's spec that say how many Pods it has."""
    return {"completions": nodes, "parallelism": nodes, **({"completionMode": "Indexed"} if nodes > 1 else {})}


def node_fields(plan: Plan, nodes: int) -> Manifest:
    """The fields of the Pods' spec by which they have names in DNS."""
    return {"subdomain": names.training_service_name(plan.name)} if nodes > 1 else {}


def node_environment(plan: Plan, job: str, nodes: int) -> tuple[Manifest, ...]:
    """Variables that say how many nodes there are, where they meet, and where each can be reached."""
    if nodes == 1:
        return ()
    first = f"{job}-0.{names.training_service_name(plan.name)}:{RENDEZVOUS_PORT}"
    return (
        {"name": NODES_VARIABLE, "value": str(nodes)},
        {"name": RENDEZVOUS_VARIABLE, "value": first},
        {"name": NODE_ADDRESS_VARIABLE, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    )


def training_service(plan: Plan) -> Manifest:
    """The Service that gives the Pods of a training their names. It has no address, and names Pods that are not ready:
    they meet before they are."""
    labels = child_labels(plan, Stage.TRAIN)
    selected = (names.MANAGED_BY_LABEL, names.NAME_LABEL, names.COMPONENT_LABEL)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owned_metadata(plan, names.training_service_name(plan.name), labels),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {name: labels[name] for name in selected},
            "ports": [{"name": "rendezvous", "port": RENDEZVOUS_PORT, "protocol": "TCP"}],
        },
    }
