"""Which server is deployed, and which one there should be for a student.

What serves keeps its Pod template until its student or the user's spec changes: neither a new release of this software
nor a changed setting of the installation replaces a Pod that answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from distillery_api.spec import RouteKind
from distillery_api.stage import Stage
from distillery_operator.core.observation import Observation, ObservedDeployment, Ownership, ReadyPod
from distillery_operator.core.situation import Situation
from distillery_operator.manifests.server import UNKNOWN_PRECISION, ServedModel, Server, adapter_of
from distillery_operator.manifests.serving import base_identity_of, identity_of, rendered_server, with_adapter_of
from distillery_operator.manifests.shared_server import guests_server
from distillery_operator.planning import names


def deployed_server(situation: Situation) -> Server | None:
    """The server that our Deployment describes, whether or not its Pods have been replaced yet."""
    seen = situation.observation.deployment
    if seen is None or seen.ownership is not Ownership.OURS:
        return None
    return seen.server or _taken_over_server(situation, seen)


def served_model(situation: Situation) -> ServedModel | None:
    """The student that is served; where somebody has deleted the Deployment, the one that was. It is served from the
    workspace once the spec asks for no image any more, unless its model is there no longer."""
    deployed = deployed_server(situation)
    model = deployed.model if deployed else _last_served_model(situation)
    stays = model is None or situation.plan.publishes or model.folder in situation.previous.prunable_folders
    return model if model is None or stays else replace(model, image=None)


def _last_served_model(situation: Situation) -> ServedModel | None:
    before = situation.previous.serving
    if before is None or before.model_path is None or before.student_prompt is None:
        return None
    folder = PurePosixPath(before.model_path).parts[0]
    train_hash = folder.removeprefix(f"{Stage.TRAIN}-")
    run = next((run for run in situation.previous.history if run.model_path == before.model_path), None)
    precision, adapter = before.precision or UNKNOWN_PRECISION, adapter_of(run) if run else None
    return ServedModel(train_hash, before.model_path, before.student_prompt, precision, before.model_image, adapter)


def fallback_server(situation: Situation) -> Server | None:
    """The server that answered well before the deployed one."""
    seen = situation.observation.deployment
    return seen.fallback if seen and seen.ownership is Ownership.OURS else None


def candidate_server(situation: Situation) -> Server | None:
    """The candidate that stands beside the deployed server."""
    seen = situation.observation.candidate
    return seen.server if seen and seen.ownership is Ownership.OURS else None


def answering_servers(situation: Situation) -> tuple[Server, ...]:
    """The servers of which at least one Pod is ready, and gets requests; the one from before a rollout first. Two
    adapters on one base model have the same Pods: which one these have loaded, only verify finds out."""
    known = (fallback_server(situation), deployed_server(situation), candidate_server(situation))
    ready = {(pod.server, pod.train_hash) for pod in _pods_with_requests(situation.observation)}
    answering = (each for each in known if each and each.pods in ready)
    return tuple({each.digest: each for each in answering}.values())


def selected_server(observation: Observation) -> str | None:
    """The label of the only server that the Service selects; None where it selects all."""
    service = observation.service
    selector = (service.manifest["spec"].get("selector") or {}) if service else {}
    return selector.get(names.SERVER_LABEL)


def routed_percent(observation: Observation) -> int:
    """The share of its requests that our HTTPRoute leads to the candidate, in percent."""
    route = observation.routes.get(RouteKind.HTTP_ROUTE)
    return route.candidate_percent if route and route.ownership is Ownership.OURS else 0


def stable_is_alone(observation: Observation) -> bool:
    """Whether no request of users gets to a candidate: the Service selects one server, and the route leads to it."""
    return selected_server(observation) is not None and not routed_percent(observation)


def _pods_with_requests(observation: Observation) -> tuple[ReadyPod, ...]:
    deployment, candidate = observation.deployment, observation.candidate
    pods = deployment.ready_pods if deployment else ()
    return pods if candidate is None or stable_is_alone(observation) else (*pods, *candidate.ready_pods)


def server_for(situation: Situation, model: ServedModel) -> Server:
    """The server of `model` that there should be: the deployed one, or the candidate, as it is, where it is what the
    user asks for."""
    deployed, candidate = deployed_server(situation), candidate_server(situation)
    if situation.plan.host:
        host = situation.observation.host
        # While the host has none, the Pods that were there last are meant.
        return guests_server(situation.plan, (host and host.server) or deployed, model)
    kept = _kept(situation, deployed, model) if deployed else None
    if deployed is None or kept is None:
        return (candidate and _kept(situation, candidate, model)) or _rendered(situation, model)
    if situation.fleet_turn and not _is_of_other_repository(situation, deployed) and is_outdated(situation, deployed):
        return _rendered(situation, model)
    return kept


def is_outdated(situation: Situation, deployed: Server) -> bool:
    """Whether the rollout of the fleet that is asked for has another Pod template for this server."""
    fleet = situation.settings.fleet_rollout
    if fleet is None or deployed.fleet == fleet:
        return False
    return _rendered(situation, deployed.model).digest != deployed.digest


def _kept(situation: Situation, deployed: Server, model: ServedModel) -> Server | None:
    """The deployed server, with the adapter of `model` where it serves one; None where other Pods are needed."""
    if _is_of_other_repository(situation, deployed):
        # It needs the Secrets of that one, and is replaced as soon as another student is where the spec wants it.
        return deployed if deployed.model == model else None
    if situation.plan.restart_at not in (None, deployed.restarted_at):
        return None
    if deployed.identity == identity_of(situation.plan, model):
        return deployed
    base = base_identity_of(situation.plan, model)
    return with_adapter_of(situation.plan, deployed, model) if base and base == deployed.base_identity else None


def _is_of_other_repository(situation: Situation, deployed: Server) -> bool:
    """Whether a server has its student from an image that is not where the present spec has images pushed to, if
    anywhere."""
    wanted, image = situation.plan.spec.serving.model_image, deployed.model.image
    return image is not None and not (wanted and wanted.holds(image))


def _rendered(situation: Situation, model: ServedModel) -> Server:
    server = rendered_server(situation.plan, situation.settings.manifests, model)
    return replace(server, fleet=situation.settings.fleet_rollout)


def _taken_over_server(situation: Situation, seen: ObservedDeployment) -> Server:
    """The server in a Deployment of a release that did not store it. That release had brought the Deployment to the
    spec which its status is about."""
    model = ServedModel(seen.train_hash, seen.model_path, seen.student_prompt, seen.precision or UNKNOWN_PRECISION)
    return Server(
        model,
        identity=identity_of(situation.plan, model) if _is_of_spec(situation, seen) else "",
        template=dict(seen.manifest["spec"]["template"]),
        digest=seen.digest,
        verify_hashes=_recorded_verify(situation),
    )


def _is_of_spec(situation: Situation, seen: ObservedDeployment) -> bool:
    """Whether the Deployment is what the present spec asks for. This release writes its status before the Deployment:
    one that dies in between has said so there, in `server`, or is still to change it."""
    serving = situation.previous.serving
    if situation.previous.observed_generation != situation.plan.generation:
        return False
    return serving is None or serving.train is None or serving.server == seen.digest


def _recorded_verify(situation: Situation) -> Mapping[str, str]:
    """The input hash of verify by that of evaluate, in the status of that release."""
    hashes = {record.name: record.input_hash for record in situation.previous.stages}
    if Stage.EVALUATE not in hashes or Stage.VERIFY not in hashes:
        return {}
    return {hashes[Stage.EVALUATE]: hashes[Stage.VERIFY]}
