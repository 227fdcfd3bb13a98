"""The objects of a server, and of the candidate that is to replace it, as they should exist at this moment."""

from __future__ import annotations

from distillery_operator.core.canary import Canary, candidate_pods, candidate_weight, stable_is_selected_alone
from distillery_operator.core.observation import Ownership
from distillery_operator.core.placement import volume_use
from distillery_operator.core.replicas import with_possible_replicas
from distillery_operator.core.runs import known_verification
from distillery_operator.core.servers import deployed_server, fallback_server
from distillery_operator.core.shared_server import adapters_of_guests
from distillery_operator.core.situation import Situation
from distillery_operator.core.take_over import candidate_stands_in, replaced_one_by_one
from distillery_operator.manifests.candidate import candidate_deployment, candidate_service, stable_service
from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.manifests.route import serving_route
from distillery_operator.manifests.server import Server, with_servers
from distillery_operator.manifests.serving import (
    adapters_config_map,
    disruption_budget,
    serving_deployment,
    serving_service,
)
from distillery_operator.manifests.shared_server import guests_config_map


def server_manifests(situation: Situation, server: Server, step: Canary | None = None) -> tuple[Manifest, ...]:
    """Deployment, Service and what belongs to them, for a server that serves, or is the stable one of a canary."""
    plan, settings = situation.plan, situation.settings.manifests
    if plan.host:
        return _guests_manifests(situation, server)
    deployment = serving_deployment(plan, settings, server, volume_use(situation))
    deployment = with_possible_replicas(situation, server, deployment)
    if candidate_stands_in(situation):
        deployment = replaced_one_by_one(deployment)
    failed = _is_failed_candidate_there(situation, server)
    alone = stable_is_selected_alone(situation, step) if step else failed
    service = stable_service(plan, server) if alone else serving_service(plan)
    budget = (disruption_budget(plan),) if plan.has_several_servers else ()
    adapters = _adapters(situation, server)
    route = serving_route(plan, candidate_weight(situation, step))
    with_memory = with_servers(deployment, server, _fallback(situation, server))
    return (with_memory, *adapters, service, *budget, *([route] if route else []))


def _adapters(situation: Situation, server: Server) -> tuple[Manifest, ...]:
    adapter = server.model.adapter
    of_guests = adapters_of_guests(situation, server)
    return (adapters_config_map(situation.plan, adapter, of_guests),) if adapter else ()


def _guests_manifests(situation: Situation, server: Server) -> tuple[Manifest, ...]:
    """What a student needs that another Distillation's Pods serve."""
    plan, route = situation.plan, serving_route(situation.plan)
    config_map = guests_config_map(plan, server, _fallback(situation, server))
    return (config_map, serving_service(plan), *([route] if route else []))


def candidate_manifests(situation: Situation, step: Canary) -> tuple[Manifest, ...]:
    """Those of the candidate, as soon as it may start."""
    if not step.may_start:
        return ()
    plan, replicas = situation.plan, candidate_pods(situation, step)
    deployment = candidate_deployment(plan, situation.settings.manifests, step.candidate, replicas)
    return (candidate_service(plan), deployment)


def _is_failed_candidate_there(situation: Situation, server: Server) -> bool:
    """Whether a candidate that is no longer wanted is still to be removed: it gets no more requests."""
    deployed, seen = deployed_server(situation), situation.observation.candidate
    is_kept = deployed is not None and deployed.digest == server.digest and bool(server.pod_label)
    is_there = seen is not None and seen.ownership is not Ownership.FOREIGN and seen.digest != server.digest
    return is_kept and is_there and not candidate_stands_in(situation)


def _fallback(situation: Situation, server: Server) -> Server | None:
    """The server to go back to where `server` fails: the last that answered well."""
    deployed = deployed_server(situation)
    if deployed and deployed.digest != server.digest and _answered_well(situation, deployed):
        return deployed
    fallback = fallback_server(situation)
    return fallback if fallback and fallback.digest != server.digest else None


def _answered_well(situation: Situation, server: Server) -> bool:
    serving = situation.previous.serving
    taken_over = serving is not None and serving.taken_over and serving.model_path == server.model.model_path
    return bool(taken_over) or known_verification(situation, server.digest) is not None
