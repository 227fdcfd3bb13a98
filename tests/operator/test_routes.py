"""The route from outside the cluster to the student: made, repaired, removed, and what the status says of it."""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any

import pytest

from distillery_api.spec import RouteKind
from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from distillery_operator.core.actions import Action, Apply, Create, Delete
from distillery_operator.core.observation import Ownership
from distillery_operator.core.observe_route import observed_route
from distillery_operator.errors import Invalid
from distillery_operator.manifests.preview import preview, preview_plan
from simulated_cluster import SimulatedCluster, distillation, spec

Raw = dict[str, Any]

HTTP_ROUTE = {
    "kind": "HTTPRoute",
    "hostnames": ["student.example.com"],
    "parentRefs": [{"name": "public", "namespace": "gateways"}],
}
INGRESS = {"kind": "Ingress", "hostnames": ["student.example.com", "*.example.org"], "tlsSecretName": "tls"}


def serving(route: Raw | None, **fields: Any) -> Raw:
    given = {"route": route} if route else {}
    return {"runtime": "Transformers", "apiKey": {"secretName": "clients"}, **given, **fields}


@cache
def _served(route: str) -> SimulatedCluster:
    cluster = SimulatedCluster(serving=serving(json.loads(route)))
    cluster.run_stages(*Stage)
    return cluster


def served(route: Raw | None) -> SimulatedCluster:
    """A cluster with a verified student, to be changed."""
    return copy.deepcopy(_served(json.dumps(route)))


def about_routes(actions: tuple[Action, ...]) -> list[tuple[type[Action], str]]:
    """What is done to routes."""
    kinds = tuple(RouteKind)
    written = [(type(each), each.manifest["kind"]) for each in actions if isinstance(each, Create | Apply)]
    deleted = [(type(each), each.kind) for each in actions if isinstance(each, Delete)]
    return [each for each in written + deleted if each[1] in kinds]


def condition(cluster: SimulatedCluster, kind: ConditionType) -> tuple[str, str]:
    found = next((each for each in cluster.status.conditions if each.type is kind), None)
    return (str(found.status), found.reason) if found else ("absent", "")


@pytest.mark.parametrize("route", [HTTP_ROUTE, INGRESS])
def test_a_route_is_made_with_the_server_and_then_nothing_is_left_to_do(route: Raw) -> None:
    cluster = SimulatedCluster(serving=serving(route))
    cluster.run_stages(Stage.GENERATE)
    assert (route["kind"], "conjnli") not in cluster.objects
    cluster = served(route)
    assert cluster.objects[route["kind"], "conjnli"]["spec"]["hostnames" if route is HTTP_ROUTE else "rules"]
    assert cluster.decisions() == ()
    assert condition(cluster, ConditionType.READY) == ("True", "Serving")


def test_one_that_was_changed_or_deleted_by_hand_is_repaired() -> None:
    cluster = served(HTTP_ROUTE)
    key = "HTTPRoute", "conjnli"
    cluster.objects[key]["spec"]["rules"][0]["matches"].append({"path": {"type": "PathPrefix", "value": "/metrics"}})
    assert about_routes(cluster.decisions()) == [(Apply, "HTTPRoute")]
    cluster.settle()
    assert len(cluster.objects[key]["spec"]["rules"][0]["matches"]) == 1
    del cluster.objects[key]
    assert about_routes(cluster.decisions()) == [(Create, "HTTPRoute")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (INGRESS, {"kind": "Ingress", "hostnames": INGRESS["hostnames"]}),
        ({**INGRESS, "annotations": {"a.example/b": "c"}}, INGRESS),
        ({**HTTP_ROUTE, "requestTimeout": "5m"}, HTTP_ROUTE),
        (HTTP_ROUTE, {**HTTP_ROUTE, "parentRefs": [{"name": "public"}]}),
    ],
    ids=["TLS", "annotation", "timeout", "namespace"],
)
def test_a_field_that_is_no_longer_wanted_is_taken_away(before: Raw, after: Raw) -> None:
    cluster = served(before)
    cluster.change(serving=serving(after))
    assert about_routes(cluster.decisions()) == [(Apply, before["kind"])]
    cluster.settle()
    assert cluster.decisions() == ()


def test_another_kind_replaces_the_one_before() -> None:
    cluster = served(HTTP_ROUTE)
    cluster.change(serving=serving(INGRESS))
    cluster.settle()
    assert [kind for kind, _ in cluster.objects if kind in tuple(RouteKind)] == ["Ingress"]


@pytest.mark.parametrize("after", [serving(None), serving(HTTP_ROUTE, mode="None")], ids=["no route", "no server"])
def test_it_goes_once_it_is_not_wanted(after: Raw) -> None:
    cluster = served(HTTP_ROUTE)
    cluster.change(serving=after)
    assert about_routes(cluster.decisions()) == [(Delete, "HTTPRoute")]
    cluster.settle()
    assert cluster.decisions() == ()
    assert cluster.status.serving is None or cluster.status.serving.external_urls == ()


def foreign(kind: str) -> Raw:
    return {"kind": kind, "metadata": {"name": "conjnli", "namespace": "team-a"}, "spec": {"hostnames": ["theirs"]}}


def test_a_name_that_is_taken_is_said_before_anything_is_paid() -> None:
    cluster = SimulatedCluster(serving=serving(HTTP_ROUTE))
    cluster.objects["HTTPRoute", "conjnli"] = foreign("HTTPRoute")
    cluster.settle()
    assert cluster.created == []
    assert condition(cluster, ConditionType.STALLED) == ("True", "NameConflict")
    del cluster.objects["HTTPRoute", "conjnli"]
    cluster.settle()
    assert len(cluster.live_jobs()) == 1


def test_one_of_somebody_else_is_left_alone_and_the_student_serves_on() -> None:
    cluster = served(None)
    cluster.objects["HTTPRoute", "conjnli"] = foreign("HTTPRoute")
    cluster.change(serving=serving(HTTP_ROUTE))
    cluster.settle()
    assert cluster.objects["HTTPRoute", "conjnli"] == foreign("HTTPRoute")
    assert condition(cluster, ConditionType.STALLED) == ("True", "NameConflict")
    assert condition(cluster, ConditionType.AVAILABLE) == ("True", "Serving")
    assert cluster.requeue_after() is not None
    # What the server needs is still done.
    del cluster.objects["Service", "conjnli"]
    cluster.settle()
    assert ("Service", "conjnli") in cluster.objects


def test_an_ingress_of_somebody_else_matters_to_nobody_who_wants_an_http_route() -> None:
    cluster = SimulatedCluster(serving=serving(HTTP_ROUTE))
    cluster.objects["Ingress", "conjnli"] = foreign("Ingress")
    cluster.run_stages(*Stage)
    assert condition(cluster, ConditionType.READY) == ("True", "Serving")
    assert cluster.objects["Ingress", "conjnli"] == foreign("Ingress")


def test_a_cluster_without_the_gateway_api_is_named_and_the_student_serves() -> None:
    cluster = SimulatedCluster(serving=serving(HTTP_ROUTE))
    cluster.refuses["create", "HTTPRoute"] = Invalid("the cluster does not serve httproutes")
    cluster.run_stages(*Stage)
    assert condition(cluster, ConditionType.AVAILABLE) == ("True", "Serving")
    assert condition(cluster, ConditionType.STALLED) == ("True", "InvalidSpec")
    ready = next(each for each in cluster.status.conditions if each.type is ConditionType.READY)
    assert ready.message == (
        "the API server refuses to create the HTTPRoute conjnli: the cluster does not serve httproutes"
    )
    cluster.refuses.clear()
    cluster.settle()
    assert condition(cluster, ConditionType.READY) == ("True", "Serving")


def urls(route: Raw) -> tuple[str, ...]:
    serving = served(route).status.serving
    assert serving
    return serving.external_urls


def test_the_status_has_the_addresses_for_clients_outside() -> None:
    assert urls(HTTP_ROUTE) == ("https://student.example.com/v1",)
    assert urls(INGRESS) == ("https://student.example.com/v1",)
    assert urls({"kind": "Ingress", "hostnames": ["a.example", "b.example"]}) == (
        "http://a.example/v1",
        "http://b.example/v1",
    )
    ports = [{"name": "public", "port": port} for port in (443, 80, 8443)]
    assert urls({**HTTP_ROUTE, "parentRefs": ports}) == (
        "https://student.example.com/v1",
        "http://student.example.com/v1",
        "https://student.example.com:8443/v1",
    )


def http_route(*parents: Raw, references: tuple[Raw, ...] = ({"name": "public", "namespace": "gateways"},)) -> Raw:
    return {
        "kind": "HTTPRoute",
        "metadata": {"name": "conjnli", "namespace": "team-a", "generation": 2},
        "spec": {"parentRefs": list(references)},
        "status": {"parents": list(parents)},
    }


def answer(*conditions: Raw, **reference: Any) -> Raw:
    return {"parentRef": {"name": "public", "namespace": "gateways", **reference}, "conditions": list(conditions)}


def says(kind: str, status: str = "True", generation: int = 2, reason: str = "", message: str = "") -> Raw:
    about = {"reason": reason, "message": message}
    return {"type": kind, "status": status, "observedGeneration": generation, **about}


NO_HOSTNAME = says("Accepted", "False", reason="NoMatchingListenerHostname", message="no listener has that name")
NO_BACKEND = says("ResolvedRefs", "False", reason="BackendNotFound", message="no Service conjnli")


@pytest.mark.parametrize(
    ("parents", "accepted", "message"),
    [
        (
            (),
            False,
            "the Gateway gateways/public: no controller has answered yet; see that it exists and admits this namespace",
        ),
        ((answer(says("Accepted"), says("ResolvedRefs")),), True, "accepted by the Gateway gateways/public"),
        ((answer(says("Accepted")),), True, "accepted by the Gateway gateways/public"),
        (
            (answer(NO_HOSTNAME, says("ResolvedRefs")),),
            False,
            "the Gateway gateways/public: NoMatchingListenerHostname: no listener has that name",
        ),
        (
            (answer(says("Accepted"), NO_BACKEND),),
            False,
            "the Gateway gateways/public: BackendNotFound: no Service conjnli",
        ),
        (
            (answer(says("Accepted", generation=1)),),
            False,
            "the Gateway gateways/public: its controller has not looked at the present version yet",
        ),
        ((answer(NO_HOSTNAME), answer(says("Accepted"))), True, "accepted by the Gateway gateways/public"),
    ],
)
def test_what_the_controllers_of_gateways_say(parents: tuple[Raw, ...], accepted: bool, message: str) -> None:
    route = observed_route(http_route(*parents), Ownership.OURS)
    assert (route.accepted, route.message) == (accepted, message)


@pytest.mark.parametrize("refused", ["http", "https"])
def test_every_listener_of_a_gateway_has_to_accept_it(refused: str) -> None:
    public = {"name": "public", "namespace": "gateways"}
    references = [{**public, "sectionName": name} for name in ("http", "https")]
    says_of = {name: NO_HOSTNAME if name == refused else says("Accepted") for name in ("http", "https")}
    answers = [answer(said, sectionName=name) for name, said in says_of.items()]
    route = observed_route(http_route(*answers, references=tuple(references)), Ownership.OURS)
    assert (route.accepted, route.message) == (
        False,
        "the Gateway gateways/public: NoMatchingListenerHostname: no listener has that name",
    )


def test_every_gateway_has_to_accept_it() -> None:
    references = ({"name": "public", "namespace": "gateways"}, {"name": "local", "sectionName": "http"})
    route = observed_route(http_route(answer(says("Accepted")), references=references), Ownership.OURS)
    assert not route.accepted
    assert route.message.startswith("the Gateway team-a/local: no controller has answered yet")
    local = {"parentRef": {"name": "local", "sectionName": "http"}, "conditions": [says("Accepted")]}
    both = observed_route(http_route(answer(says("Accepted")), local, references=references), Ownership.OURS)
    assert both.message == "accepted by the Gateway gateways/public and the Gateway team-a/local"


@pytest.mark.parametrize(
    ("status", "accepted", "message"),
    [
        ({}, False, "no controller of the class nginx has given it an address yet"),
        ({"loadBalancer": {}}, False, "no controller of the class nginx has given it an address yet"),
        ({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}, True, "reachable at 192.0.2.7"),
        (
            {"loadBalancer": {"ingress": [{"hostname": "lb.example"}, {"ip": "192.0.2.7"}]}},
            True,
            "reachable at lb.example, 192.0.2.7",
        ),
    ],
)
def test_what_the_controller_of_an_ingress_says(status: Raw, accepted: bool, message: str) -> None:
    raw = {"kind": "Ingress", "metadata": {"name": "conjnli"}, "spec": {"ingressClassName": "nginx"}, "status": status}
    route = observed_route(raw, Ownership.OURS)
    assert (route.accepted, route.message) == (accepted, message)


def test_the_status_repeats_it() -> None:
    cluster = served(HTTP_ROUTE)
    cluster.objects["HTTPRoute", "conjnli"]["status"] = {"parents": [answer(says("Accepted", generation=1))]}
    cluster.settle()
    assert cluster.status.serving
    assert cluster.status.serving.route
    assert cluster.status.serving.route.model_dump() == {
        "kind": "HTTPRoute",
        "accepted": True,
        "message": "accepted by the Gateway gateways/public",
    }
    assert condition(cluster, ConditionType.READY) == ("True", "Serving")


def test_the_preview_of_all_manifests_has_it() -> None:
    plan = preview_plan(distillation(spec(serving=serving(INGRESS))))
    assert [each["kind"] for each in preview(plan)].count("Ingress") == 1
