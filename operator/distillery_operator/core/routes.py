"""The route to the student: what is in its way, what of it is no longer wanted, and what the status says of it."""

from __future__ import annotations

from collections.abc import Iterable

from distillery_api.spec import Route, RouteKind
from distillery_api.status import RouteStatus
from distillery_operator.core.observation import ObservedRoute, Ownership
from distillery_operator.core.problem import Problem, name_conflict
from distillery_operator.core.situation import Situation
from distillery_operator.manifests.route import API_PATH
from distillery_operator.planning import names

_HTTP_PORT, _HTTPS_PORT = 80, 443


def route_name_conflict(situation: Situation) -> Problem | None:
    """A route of somebody else that has the name of ours."""
    kind = _wanted_kind(situation)
    seen = situation.observation.routes.get(kind) if kind else None
    if kind is None or seen is None or seen.ownership is not Ownership.FOREIGN:
        return None
    return name_conflict(kind, names.serving_name(situation.plan.name))


def unwanted_routes(situation: Situation) -> Iterable[RouteKind]:
    """The kinds of our routes that the spec no longer asks for."""
    ours = (kind for kind, route in situation.observation.routes.items() if route.ownership is Ownership.OURS)
    return (kind for kind in ours if kind != _wanted_kind(situation))


def observed_route_of(situation: Situation) -> ObservedRoute | None:
    """The route that the spec asks for, where there is one and it is ours."""
    kind = _wanted_kind(situation)
    seen = situation.observation.routes.get(kind) if kind else None
    return seen if seen and seen.ownership is Ownership.OURS else None


def route_status(situation: Situation) -> RouteStatus | None:
    """What the status says of it."""
    seen, kind = observed_route_of(situation), _wanted_kind(situation)
    return RouteStatus(kind=kind, accepted=seen.accepted, message=seen.message) if seen and kind else None


def external_urls(situation: Situation) -> tuple[str, ...]:
    """Base URLs of the student's API for clients outside the cluster, while there is a route."""
    route = situation.plan.spec.serving.route
    if route is None or observed_route_of(situation) is None:
        return ()
    hostnames = [hostname for hostname in route.hostnames if not hostname.startswith("*")]
    urls = (f"{scheme}://{hostname}{port}{API_PATH}" for hostname in hostnames for scheme, port in _origins(route))
    return tuple(dict.fromkeys(urls))


def _origins(route: Route) -> Iterable[tuple[str, str]]:
    """Scheme and port, as in a URL. Whether a listener of a Gateway has TLS is not looked up: only port 80 has none."""
    if route.kind is RouteKind.INGRESS:
        return (("https" if route.tls_secret_name else "http", ""),)
    ports = (reference.port for reference in route.parent_refs or ())
    return (_origin(port) for port in ports)


def _origin(port: int | None) -> tuple[str, str]:
    if port == _HTTP_PORT:
        return "http", ""
    return "https", "" if port in (None, _HTTPS_PORT) else f":{port}"


def _wanted_kind(situation: Situation) -> RouteKind | None:
    plan = situation.plan
    return plan.spec.serving.route.kind if plan.served and plan.spec.serving.route else None
