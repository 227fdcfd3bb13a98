"""What the controller of a Gateway or an Ingress says about a route, as a person would say it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from distillery_api.formatting import cleaned
from distillery_api.spec import RouteKind
from distillery_operator.core.observation import ObservedRoute, Ownership, Raw
from distillery_operator.planning import names

_MESSAGE_LIMIT = 1000
_NEEDED_CONDITIONS = ("Accepted", "ResolvedRefs")


def observed_route(raw: Raw, ownership: Ownership) -> ObservedRoute:
    """The route, with whether requests can come this way, and why not."""
    is_http_route = raw["kind"] == RouteKind.HTTP_ROUTE
    accepted, message = _of_http_route(raw) if is_http_route else _of_ingress(raw)
    percent = _candidate_percent(raw) if is_http_route else 0
    return ObservedRoute(ownership, raw, accepted, cleaned(message, _MESSAGE_LIMIT), percent)


def _candidate_percent(raw: Raw) -> int:
    """The share of the requests that the rules lead to the candidate's Service."""
    candidate = names.candidate_name(raw["metadata"]["name"])
    backends = [each for rule in raw["spec"].get("rules") or () for each in rule.get("backendRefs") or ()]
    weights = [(each.get("name") == candidate, each.get("weight", 1)) for each in backends]
    total = sum(weight for _, weight in weights)
    return round(100 * sum(weight for is_candidate, weight in weights if is_candidate) / total) if total else 0


def _of_http_route(raw: Raw) -> tuple[bool, str]:
    references = raw["spec"].get("parentRefs") or ()
    problems = [(_gateway(raw, each), _problem_with(raw, each)) for each in references]
    sentences = dict.fromkeys(f"{gateway}: {problem}" for gateway, problem in problems if problem)
    gateways = dict.fromkeys(gateway for gateway, _ in problems)
    return (False, "; ".join(sentences)) if sentences else (True, f"accepted by {' and '.join(gateways)}")


def _gateway(raw: Raw, reference: Mapping[str, Any]) -> str:
    return f"the Gateway {reference.get('namespace') or raw['metadata']['namespace']}/{reference['name']}"


def _problem_with(raw: Raw, reference: Mapping[str, Any]) -> str | None:
    """Why one of its Gateways does not lead requests to it."""
    parents = (raw.get("status") or {}).get("parents") or ()
    answers = [each for each in parents if _key(raw, each["parentRef"]) == _key(raw, reference)]
    problems = [_first_unmet(raw, each.get("conditions") or ()) for each in answers]
    if not all(problems):
        return None  # Of several controllers, one is enough.
    return problems[0] if problems else "no controller has answered yet; see that it exists and admits this namespace"


def _key(raw: Raw, reference: Mapping[str, Any]) -> tuple[Any, ...]:
    namespace = reference.get("namespace") or raw["metadata"]["namespace"]
    return namespace, reference["name"], reference.get("sectionName"), reference.get("port")


def _first_unmet(raw: Raw, conditions: Iterable[Mapping[str, Any]]) -> str | None:
    by_type = {each["type"]: each for each in conditions if _is_current(raw, each)}
    if "Accepted" not in by_type:
        return "its controller has not looked at the present version yet"
    unmet = (by_type[kind] for kind in _NEEDED_CONDITIONS if by_type.get(kind, {}).get("status", "True") != "True")
    return next((f"{each.get('reason', '')}: {each.get('message', '')}" for each in unmet), None)


def _is_current(raw: Raw, condition: Mapping[str, Any]) -> bool:
    generation: int = raw["metadata"].get("generation", 0)
    return bool(condition.get("observedGeneration", generation) >= generation)


def _of_ingress(raw: Raw) -> tuple[bool, str]:
    balancer = (raw.get("status") or {}).get("loadBalancer") or {}
    addresses = [each.get("hostname") or each.get("ip") for each in balancer.get("ingress") or ()]
    named = [address for address in addresses if address]
    if named:
        return True, f"reachable at {', '.join(named)}"
    of_class = raw["spec"].get("ingressClassName")
    which = f"of the class {of_class}" if of_class else "of a default class"
    return False, f"no controller {which} has given it an address yet"
