"""How the candidate of a canary gets its share of the requests: exactly, by the weights of our HTTPRoute, where there
is one; otherwise by Pods, of which the Service gives each as many requests as the others.

By weights, the Service selects the stable server alone, so that only requests through the route get to the candidate.
"""

from __future__ import annotations

from distillery_api.spec import RouteKind
from distillery_operator.core.observation import Observation, ObservedDeployment
from distillery_operator.core.routes import observed_route_of
from distillery_operator.core.servers import routed_percent, selected_server
from distillery_operator.core.situation import Situation


def is_by_weights(situation: Situation) -> bool:
    """Whether the route has the shares. Where no Pod of the stable server answers, it has not: the candidate's Pods,
    which the Service selects then, answer all requests."""
    return has_weights(situation) and _ready(situation.observation.deployment) > 0


def has_weights(situation: Situation) -> bool:
    """Whether there is a route of ours whose weights can make the shares."""
    route = situation.plan.spec.serving.route
    return route is not None and route.kind is RouteKind.HTTP_ROUTE and observed_route_of(situation) is not None


def weight(observation: Observation, percent: int, pods: int) -> int:
    """What the route is to lead to the candidate, in percent, in a step of `percent`, for which `pods` Pods are wanted.
    Until all of them are there, they get no more than as many of the stable server's would; without one, it is 0."""
    ready = _ready(observation.candidate)
    if ready >= pods:
        return percent
    return min(percent, max(1, _share_of_pods(observation))) if ready else 0


def present_share(observation: Observation) -> int:
    """The share of the requests that the candidate gets, in percent."""
    if observation.candidate is None:
        return 0
    routed = routed_percent(observation)
    return routed if routed or selected_server(observation) else _share_of_pods(observation)


def _share_of_pods(observation: Observation) -> int:
    candidate, stable = _ready(observation.candidate), _ready(observation.deployment)
    return round(100 * candidate / (candidate + stable)) if candidate else 0


def _ready(deployment: ObservedDeployment | None) -> int:
    return len(deployment.ready_pods) if deployment else 0
