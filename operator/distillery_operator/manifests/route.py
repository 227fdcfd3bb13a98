"""The way from outside the cluster to the student's Service: an HTTPRoute or an Ingress. In the steps of a canary, the
HTTPRoute leads a part of the requests to the candidate's Service."""

from __future__ import annotations

from distillery_api.spec import Route, RouteKind, parse_duration
from distillery_operator.manifests.child_metadata import Manifest, child_labels, owned_metadata
from distillery_operator.planning import names
from distillery_operator.planning.identity import digest
from distillery_operator.planning.plan import Plan

API_PATH = "/v1"
"""What can be reached from outside: neither /metrics nor /health."""

_API_VERSIONS = {RouteKind.HTTP_ROUTE: "gateway.networking.k8s.io/v1", RouteKind.INGRESS: "networking.k8s.io/v1"}


def serving_route(plan: Plan, candidate_percent: int = 0) -> Manifest | None:
    """The route that the spec asks for; None for none. Of an HTTPRoute, the candidate gets `candidate_percent` of the
    requests."""
    route = plan.spec.serving.route
    if route is None:
        return None
    is_http_route = route.kind is RouteKind.HTTP_ROUTE
    spec = _http_route_spec(plan, route, candidate_percent) if is_http_route else _ingress_spec(plan, route)
    # A field that is no longer asked for is no difference to what the server has; the digest is.
    annotations = {**(route.annotations or {}), names.DIGEST_ANNOTATION: digest([spec, route.annotations])}
    labels = child_labels(plan, names.SERVING_COMPONENT)
    return {
        "apiVersion": _API_VERSIONS[route.kind],
        "kind": str(route.kind),
        "metadata": owned_metadata(plan, names.serving_name(plan.name), labels, annotations),
        "spec": spec,
    }


def _http_route_spec(plan: Plan, route: Route, candidate_percent: int) -> Manifest:
    timeout = {"timeouts": {"request": _gateway_duration(route.request_timeout)}} if route.request_timeout else {}
    return {
        "parentRefs": [reference.to_manifest() for reference in route.parent_refs or ()],
        "hostnames": list(route.hostnames),
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": API_PATH}}],
                **timeout,
                "backendRefs": _backends(plan, candidate_percent),
            }
        ],
    }


def _backends(plan: Plan, candidate_percent: int) -> list[Manifest]:
    stable = {"name": names.serving_name(plan.name), "port": names.SERVING_PORT}
    if not candidate_percent:
        return [stable]
    candidate = {"name": names.candidate_name(plan.name), "port": names.SERVING_PORT}
    return [{**stable, "weight": 100 - candidate_percent}, {**candidate, "weight": candidate_percent}]


def _gateway_duration(text: str) -> str:
    """A duration without days, which the Gateway API does not know (GEP-2257)."""
    minutes, seconds = divmod(round(parse_duration(text).total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number)


def _ingress_spec(plan: Plan, route: Route) -> Manifest:
    tls = [{"hosts": list(route.hostnames), "secretName": route.tls_secret_name}] if route.tls_secret_name else None
    return {
        **({"ingressClassName": route.ingress_class_name} if route.ingress_class_name else {}),
        **({"tls": tls} if tls else {}),
        "rules": [{"host": hostname, "http": {"paths": [_ingress_path(plan)]}} for hostname in route.hostnames],
    }


def _ingress_path(plan: Plan) -> Manifest:
    backend = {"service": {"name": names.serving_name(plan.name), "port": {"number": names.SERVING_PORT}}}
    return {"path": API_PATH, "pathType": "Prefix", "backend": backend}
