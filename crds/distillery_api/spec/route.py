"""The way from outside the cluster to the student: an HTTPRoute of the Gateway API, or an Ingress."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from distillery_api.base import ApiModel, Rule, matches
from distillery_api.spec.durations import Duration
from distillery_api.spec.endpoints import has_no
from distillery_api.spec.fields import ObjectName, ShortName

_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"

Hostname = Annotated[
    str,
    Field(max_length=253),
    has_no("^[0-9.]+$", "is an IP address, which a route cannot be for; use the DNS name that clients ask for"),
    matches(
        rf"^(\*\.)?{_LABEL}(\.{_LABEL})*$",
        "not a hostname; use lowercase letters, digits, - and ., for example student.example.com or *.example.com,"
        " without scheme, port and path",
    ),
]


class RouteKind(StrEnum):
    """Kinds of routes."""

    HTTP_ROUTE = "HTTPRoute"
    INGRESS = "Ingress"


class RouteAccess(StrEnum):
    """Who may ask the student through the route."""

    API_KEY = "APIKey"
    OPEN = "Open"


class ParentReference(ApiModel):
    """A Gateway that an HTTPRoute belongs to."""

    name: ObjectName
    """Name of the Gateway."""
    namespace: ShortName | None = None
    """Namespace of the Gateway. Default: that of the Distillation."""
    section_name: ObjectName | None = None
    """Name of one of its listeners. Default: every listener that admits the hostnames."""
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] | None = None
    """Port of its listeners. Default: any."""


def _has_gateway(route: Route) -> bool:
    return route.kind is not RouteKind.HTTP_ROUTE or route.parent_refs is not None


def _has_nothing_of_an_http_route(route: Route) -> bool:
    given = route.parent_refs is not None or route.request_timeout is not None
    return route.kind is RouteKind.HTTP_ROUTE or not given


def _has_nothing_of_an_ingress(route: Route) -> bool:
    given = route.ingress_class_name is not None or route.tls_secret_name is not None
    return route.kind is RouteKind.INGRESS or not given


def _no_annotation_is_reserved(route: Route) -> bool:
    return not any(key.startswith("distillery.dev/") for key in route.annotations or {})


class Route(ApiModel):
    """Leads requests for /v1 from outside the cluster to the student, and for no other path. It has the Distillation's
    name."""

    kind: RouteKind
    """HTTPRoute, where the Gateway API is installed, or Ingress."""
    hostnames: Annotated[tuple[Hostname, ...], Field(min_length=1, max_length=16)]
    """DNS names that clients ask for; the first label may be *."""
    access: RouteAccess = RouteAccess.API_KEY
    """Who may ask. APIKey: clients that carry the key of serving.apiKey, which is then required. Open: anyone whom
    gateway and network let through. Default: APIKey."""
    parent_refs: Annotated[tuple[ParentReference, ...], Field(min_length=1, max_length=8)] | None = None
    """Gateways of the HTTPRoute."""
    request_timeout: Duration | None = None
    """Time that an answer may take as a whole, for an HTTPRoute. An Ingress has it in the annotations of its
    controller. Default: that of the Gateway."""
    ingress_class_name: ObjectName | None = None
    """Class of the Ingress. Default: the cluster's default class."""
    tls_secret_name: ObjectName | None = None
    """Secret with the certificate of the Ingress; an HTTPRoute has that of its Gateway. Default: no TLS."""
    annotations: Annotated[dict[str, Annotated[str, Field(max_length=4096)]], Field(max_length=50)] | None = None
    """Annotations to add, for example for the controller of an Ingress. Keys under distillery.dev/ are reserved."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.kind != 'HTTPRoute' || has(self.parentRefs)",
            "parentRefs: an HTTPRoute belongs to a Gateway; name it, for example [{name: public, namespace: gateways}]",
            _has_gateway,
        ),
        Rule(
            "self.kind == 'HTTPRoute' || (!has(self.parentRefs) && !has(self.requestTimeout))",
            "parentRefs and requestTimeout are those of an HTTPRoute; remove them, or set kind to HTTPRoute",
            _has_nothing_of_an_http_route,
        ),
        Rule(
            "self.kind == 'Ingress' || (!has(self.ingressClassName) && !has(self.tlsSecretName))",
            "ingressClassName and tlsSecretName are those of an Ingress, and an HTTPRoute has the TLS of its Gateway;"
            " remove them, or set kind to Ingress",
            _has_nothing_of_an_ingress,
        ),
        Rule(
            "!has(self.annotations) || self.annotations.all(k, !k.startsWith('distillery.dev/'))",
            "annotations: keys under distillery.dev/ are reserved; use a prefix of your own",
            _no_annotation_is_reserved,
        ),
    )
