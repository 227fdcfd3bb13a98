"""Requests to the API server: plain dicts in and out, one exception tree. The only import of kubernetes.

What the server answers is put into the object cache, so that whoever reads there finds at least what this process has
written.

The Kubernetes client is used for connections, credentials and their renewal. Paths are called instead of its generated
classes, whose models would convert every manifest twice and cost memory.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio import config as client_config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration

from distillery_api.resource import API_VERSION, KIND, PLURAL
from distillery_operator.cluster.object_cache import KINDS, ObjectCache
from distillery_operator.errors import (
    AdmissionFailed,
    AlreadyExists,
    ClusterError,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    SettingsError,
    Unreachable,
)

logger = logging.getLogger(__name__)

Manifest = dict[str, Any]
Query = Mapping[str, str]

FIELD_MANAGER = "distillery"
APPLY_PATCH = "application/apply-patch+yaml"
MERGE_PATCH = "application/merge-patch+json"
PAGE_LENGTH = 250
"""Objects in one answer to a list: a page of Pods is parsed as a whole, which takes several times its size."""
REQUEST_SECONDS = 30.0
CONNECT_SECONDS = 5.0

RESOURCES = {
    KIND: (API_VERSION, PLURAL),
    "ConfigMap": ("v1", "configmaps"),
    "Deployment": ("apps/v1", "deployments"),
    "Event": ("events.k8s.io/v1", "events"),
    "HTTPRoute": ("gateway.networking.k8s.io/v1", "httproutes"),
    "Ingress": ("networking.k8s.io/v1", "ingresses"),
    "Job": ("batch/v1", "jobs"),
    "Lease": ("coordination.k8s.io/v1", "leases"),
    "PersistentVolumeClaim": ("v1", "persistentvolumeclaims"),
    "Pod": ("v1", "pods"),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets"),
    "Service": ("v1", "services"),
    "Workload": ("kueue.x-k8s.io/v1beta2", "workloads"),
}


@dataclass(frozen=True)
class Credentials:
    """How to reach the API server; the token may be renewed later."""

    server: str
    ca_path: str | None
    insecure: bool
    token: str | None
    certificate_path: str | None
    key_path: str | None


@dataclass(frozen=True)
class Page:
    """A part of a list, and the version that the whole list is of."""

    objects: list[Manifest]
    version: str


class Cluster:
    """Requests to one API server, and what is known of it. Every method raises a ClusterError where the request
    fails."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self.cache = ObjectCache()

    @classmethod
    async def connect(cls) -> Cluster:
        """Connect by the kubeconfig that KUBECONFIG names, else as the Pod's service account, else by ~/.kube/config.

        Raises SettingsError where none of them works.
        """
        configuration, kubeconfig = Configuration(), os.environ.get("KUBECONFIG")
        try:
            if not kubeconfig and "KUBERNETES_SERVICE_HOST" in os.environ:
                client_config.load_incluster_config(client_configuration=configuration)
            else:
                await client_config.load_kube_config(config_file=kubeconfig, client_configuration=configuration)
        except (client_config.ConfigException, OSError) as error:
            raise SettingsError(f"cannot find the API server: {error}. Run in a Pod, or set KUBECONFIG.") from error
        # Where aiohttp trusts the environment, a thread looks for the server in ~/.netrc before each request.
        configuration.client_session_kwargs = {"trust_env": _is_behind_proxy(configuration.host)}
        return cls(ApiClient(configuration))

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def credentials(self) -> Credentials:
        """The current credentials, for another client in this process."""
        configuration = self._client.configuration
        header = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return Credentials(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            token=header.split(" ", 1)[-1].strip() if header else None,
            certificate_path=configuration.cert_file,
            key_path=configuration.key_file,
        )

    # --- reading

    async def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """One object as it is at this moment, or None where it does not exist."""
        known = self._known_version(kind, namespace, name)
        try:
            return self._noted(await self._request("GET", _path(kind, namespace, name)))
        except NotFound:
            self._note_absence(kind, namespace, name, known)
            return None

    async def pages(self, kind: str, namespace: str | None, selector: str | None = None) -> AsyncIterator[Page]:
        """All objects of one kind that match a label selector, in one namespace or (None) in all, page by page; each
        says what it is, as it does where it is read alone.

        Raises Expired where the server no longer has the version that the first page was of.
        """
        itself = {"apiVersion": RESOURCES[kind][0], "kind": kind}
        async for page in self._pages(_path(kind, namespace), {"labelSelector": selector} if selector else {}):
            yield replace(page, objects=[{**itself, **each} for each in page.objects])

    async def failure_events(self, namespace: str) -> AsyncIterator[Manifest]:
        """The Events of a namespace that may say why something does not start, as core/v1, which shows the Events of
        every component. None where they may not be listed: they only explain what is known without them."""
        try:
            async for page in self._pages(f"/api/v1/namespaces/{namespace}/events", {"fieldSelector": _NO_FAILURE}):
                for event in page.objects:
                    yield event
        except Forbidden as error:
            logger.debug("no Events: %s", error)

    async def _pages(self, path: str, query: Query) -> AsyncIterator[Page]:
        continuation: Query = {}
        while True:
            found = await self._request("GET", path, {"limit": str(PAGE_LENGTH), **query, **continuation})
            metadata = found["metadata"]
            yield Page(found.get("items") or [], str(metadata.get("resourceVersion", "")))
            if not metadata.get("continue"):
                return
            continuation = {"continue": metadata["continue"]}

    async def served_schema(self, group_version: str) -> Manifest:
        """The OpenAPI v3 document of one group and version, which every authenticated user may read."""
        return await self._request("GET", f"/openapi/v3/apis/{group_version}")

    # --- writing

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object that must not exist yet, and return the stored object; raises AlreadyExists.

        What is never applied again is posted. Other kinds are applied: a field that was once posted could never be
        removed by a later apply. The server compares the version where there is an object, and with none it creates
        one.
        """
        kind, _, name = _identity(manifest)
        if kind in _POSTED:
            return await self.post(manifest)
        try:
            return await self.apply({**manifest, "metadata": {**manifest["metadata"], "resourceVersion": _OF_NONE}})
        except Conflict as error:
            raise AlreadyExists(f"{kind} {name} already exists", status=409, reason="AlreadyExists") from error

    async def apply(self, manifest: Manifest) -> Manifest:
        """Bring an object of ours to what `manifest` says (server-side apply), and return the stored object."""
        path = _path(*_identity(manifest))
        return self._noted(await self._request("PATCH", path, {**_WRITE, "force": "true"}, manifest, APPLY_PATCH))

    async def merge(self, kind: str, namespace: str, name: str, patch: Manifest) -> Manifest:
        """Change some fields of an object (JSON merge patch); raises NotFound."""
        known = self._known_version(kind, namespace, name)
        try:
            return self._noted(await self._request("PATCH", _path(kind, namespace, name), _WRITE, patch, MERGE_PATCH))
        except NotFound:
            self._note_absence(kind, namespace, name, known)
            raise

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object, after what it owns; does nothing where it does not exist.

        Raises Conflict where the name belongs to another object than the one that is known.
        """
        known, options = self._known_version(kind, namespace, name), self._delete_options(kind, namespace, name)
        try:
            self._noted(await self._request("DELETE", _path(kind, namespace, name), None, options))
        except NotFound:
            self._note_absence(kind, namespace, name, known)
        except Conflict:
            await self.get(kind, namespace, name)
            raise

    async def check(self, manifest: Manifest) -> None:
        """Ask the server whether it would accept a new object and knows all its fields; raises Refused."""
        kind, namespace, _ = _identity(manifest)
        query = {**_WRITE, "dryRun": "All", "fieldValidation": "Strict"}
        await self._request("POST", _path(kind, namespace), query, manifest)

    async def write_status(self, distillation: Manifest, status: Manifest) -> Manifest:
        """Set the whole status of a Distillation as it was read; raises Conflict if it has changed since.

        The request carries the version that was read, so that a replica that has lost its lease cannot overwrite its
        successor's status.
        """
        metadata = distillation["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": name, "namespace": namespace, "resourceVersion": metadata["resourceVersion"]},
            "status": status,
        }
        path = _path(KIND, namespace, name) + "/status"
        return self._noted(await self._request("PATCH", path, {**_WRITE, "force": "true"}, body, APPLY_PATCH))

    async def post(self, manifest: Manifest) -> Manifest:
        """Create an object as it is, such as an Event."""
        kind, namespace, _ = _identity(manifest)
        return self._noted(await self._request("POST", _path(kind, namespace), _WRITE, manifest))

    async def replace(self, manifest: Manifest) -> Manifest:
        """Write an object back as it was read and changed; raises Conflict if it has changed since."""
        return await self._request("PUT", _path(*_identity(manifest)), _WRITE, manifest)

    # --- what is known

    def _delete_options(self, kind: str, namespace: str, name: str) -> Manifest:
        known = self.cache.get(kind, namespace, name) if kind in KINDS else None
        uid = known["metadata"].get("uid") if known else None
        return {"propagationPolicy": "Foreground", **({"preconditions": {"uid": uid}} if uid else {})}

    def _known_version(self, kind: str, namespace: str, name: str) -> int:
        return self.cache.version(kind, namespace, name) if kind in KINDS else 0

    def _noted(self, answer: Manifest) -> Manifest:
        """The server's answer, which is also put into the cache; the end of a deletion is no object."""
        if answer.get("kind") in KINDS:
            self.cache.put(answer["kind"], answer)
        return answer

    def _note_absence(self, kind: str, namespace: str, name: str, known: int) -> None:
        if known:
            self.cache.absent(kind, namespace, name, known)

    # --- one request

    async def _request(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: Manifest | None = None,
        content_type: str = "application/json",
    ) -> Manifest:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        try:
            prepared = await self._client.param_serialize(
                method, path, None, list((query or {}).items()), headers, body, auth_settings=["BearerToken"]
            )
            response = await self._client.call_api(*prepared, _request_timeout=_timeout())
            content = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{method} {path}: no answer from the API server: {_reason(error)}") from error
        if response.status >= 300:
            raise _refusal(method, path, response.status, content)
        _log_warnings(path, response.headers)
        return _parsed(method, path, content)


class ClusterLease:
    """One Lease in the cluster, as the leader election reads and writes it."""

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        self._cluster, self._namespace, self._name = cluster, namespace, name

    async def read_lease(self) -> Manifest:
        """The Lease; raises NotFound."""
        found = await self._cluster.get("Lease", self._namespace, self._name)
        if found is None:
            raise NotFound(f"no Lease {self._namespace}/{self._name}", status=404, reason="NotFound")
        return found

    async def create_lease(self, spec: Manifest) -> Manifest:
        """Create the Lease with `spec`."""
        return await self._cluster.post(
            {
                "apiVersion": RESOURCES["Lease"][0],
                "kind": "Lease",
                "metadata": {"name": self._name, "namespace": self._namespace},
                "spec": spec,
            }
        )

    async def replace_lease(self, lease: Manifest) -> Manifest:
        """Write the Lease back; raises Conflict."""
        return await self._cluster.replace(lease)


_USUAL_REASONS = ("Scheduled", "Pulling", "Pulled", "Created", "Started", "Killing", "SuccessfulCreate", "Completed")
_NO_FAILURE = ",".join(f"reason!={reason}" for reason in (*_USUAL_REASONS, "FailedScheduling", "BackOff", "Unhealthy"))
"""Leaves out the Events that a healthy namespace is full of, and those that a Pod's status repeats."""

_WRITE = {"fieldManager": FIELD_MANAGER}
_OF_NONE = "1"
"""A version that no object has: the store had it before its first write."""
_POSTED = frozenset({"Job", "PersistentVolumeClaim"})

# As k8s.io/apiserver/pkg/admission words them.
_DENIED = re.compile(r"admission webhook .* denied the request|[Pp]olicy .* denied request")
_WEBHOOK_FAILED = "failed calling webhook"


def _identity(manifest: Manifest) -> tuple[str, str, str]:
    metadata = manifest["metadata"]
    return manifest["kind"], metadata["namespace"], metadata["name"]


def _path(kind: str, namespace: str | None, name: str | None = None) -> str:
    group_version, plural = RESOURCES[kind]
    root = f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"
    path = f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"
    return f"{path}/{name}" if name else path


def _is_behind_proxy(server: str) -> bool:
    """Whether the environment (HTTPS_PROXY, NO_PROXY and the like) names a proxy for that URL."""
    url = urlsplit(server)
    return url.scheme in getproxies() and not proxy_bypass(url.netloc)


def _timeout() -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncio.TimeoutError):
        return f"timed out after {REQUEST_SECONDS:g} s"
    return str(error) or type(error).__name__


def _parsed(method: str, path: str, content: bytes) -> Manifest:
    try:
        parsed: Manifest = json.loads(content)
    except ValueError as error:
        raise Unreachable(f"{method} {path}: the answer is not from an API server: {content[:100]!r}") from error
    return parsed


def _refusal(method: str, path: str, status: int, content: bytes) -> ClusterError:
    """The server's refusal as the exception that callers can act on, with the server's own message."""
    answer = _status_object(content)
    reason = str(answer.get("reason") or "")
    message = str(answer.get("message") or f"{method} {path} returned HTTP {status}")
    return _error_class(status, reason, message)(message, status=status, reason=reason)


def _error_class(status: int, reason: str, message: str) -> type[ClusterError]:
    if _DENIED.search(message):
        return Forbidden  # Whatever the status: a webhook chooses its own.
    if _WEBHOOK_FAILED in message:
        return AdmissionFailed
    if reason == "AlreadyExists":
        return AlreadyExists
    by_status = {
        400: Invalid,
        403: Forbidden,
        404: NotFound,
        409: Conflict,
        410: Expired,
        413: Invalid,
        422: Invalid,
    }
    if status >= 500 or status == 429:
        return Unreachable
    return by_status.get(status, ClusterError)


def _status_object(content: bytes) -> Manifest:
    try:
        answer = json.loads(content)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) and answer.get("kind") == "Status" else {}


def _log_warnings(path: str, headers: Any) -> None:
    for warning in headers.getall("Warning", ()):
        logger.info("the API server warns about %s: %s", path, warning)
