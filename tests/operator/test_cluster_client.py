"""The requests to the API server, and the errors that its refusals become.

The server is a small one on loopback; what a real one makes of the requests is for the cluster tests.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from distillery_operator.cluster.client import Cluster, ClusterLease, Page
from distillery_operator.errors import (
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

JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"namespace": "team-a", "name": "j"}}
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "team-a", "name": "s"}}


@dataclass
class Server:
    """Records requests and answers from a list, then with an empty object."""

    requests: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    answers: list[tuple[int, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        text = await request.text()
        body = json.loads(text) if text else None
        self.requests.append((request.method, request.path, dict(request.query), body))
        self.headers.append(dict(request.headers))
        status, content = self.answers.pop(0) if self.answers else (200, {"metadata": {}})
        if isinstance(content, str):
            return web.Response(status=status, text=content)
        return web.json_response(content, status=status)

    def refuse(self, status: int, reason: str, message: str = "no") -> None:
        self.answers.append((status, {"kind": "Status", "reason": reason, "message": message}))


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def cluster(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, f"http://127.0.0.1:{runner.addresses[0][1]}")))
    connected = await Cluster.connect()
    yield connected
    await connected.close()
    await runner.cleanup()


def kubeconfig(folder: Path, server: str) -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t0ken"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return path


async def test_requests_carry_the_token(cluster: Cluster, server: Server) -> None:
    await cluster.get("Pod", "team-a", "p")
    assert server.headers[0]["Authorization"] == "Bearer t0ken"
    assert server.requests == [("GET", "/api/v1/namespaces/team-a/pods/p", {}, None)]


async def test_an_absent_object_is_none(cluster: Cluster, server: Server) -> None:
    server.refuse(404, "NotFound")
    assert await cluster.get("Distillation", "team-a", "small") is None
    assert server.requests[0][1] == "/apis/distillery.dev/v1alpha1/namespaces/team-a/distillations/small"


async def test_a_list_is_selected_on_the_server_and_read_page_by_page(cluster: Cluster, server: Server) -> None:
    server.answers.append((200, {"metadata": {"resourceVersion": "8", "continue": "more"}, "items": [JOB]}))
    server.answers.append((200, {"metadata": {"resourceVersion": "8"}, "items": [SERVICE]}))
    pages = [page async for page in cluster.pages("Job", "team-a", "a=b,c=d")]

    assert pages == [Page([JOB], "8"), Page([SERVICE], "8")]
    path, query = "/apis/batch/v1/namespaces/team-a/jobs", {"labelSelector": "a=b,c=d", "limit": "250"}
    assert server.requests == [("GET", path, query, None), ("GET", path, {**query, "continue": "more"}, None)]


async def test_what_is_listed_says_what_it_is_though_the_server_leaves_that_out(
    cluster: Cluster, server: Server
) -> None:
    listed = {"metadata": {"namespace": "team-a", "name": "j"}}
    server.answers.append((200, {"metadata": {"resourceVersion": "8"}, "items": [listed]}))

    [page] = [page async for page in cluster.pages("Job", "team-a")]
    assert page.objects == [{"apiVersion": "batch/v1", "kind": "Job", **listed}]


async def test_a_list_of_all_namespaces(cluster: Cluster, server: Server) -> None:
    server.answers.append((200, {"metadata": {"resourceVersion": "8"}, "items": None}))

    assert [page async for page in cluster.pages("Pod", None)] == [Page([], "8")]
    assert server.requests == [("GET", "/api/v1/pods", {"limit": "250"}, None)]


async def test_a_list_whose_version_is_gone_expires(cluster: Cluster, server: Server) -> None:
    server.refuse(410, "Expired")
    with pytest.raises(Expired):
        [page async for page in cluster.pages("Pod", None)]


OURS = {"namespace": "team-a", "name": "j", "labels": {"app.kubernetes.io/managed-by": "distillery"}}


async def test_what_a_write_returns_is_known_at_once(cluster: Cluster, server: Server) -> None:
    server.answers.append((201, {**JOB, "metadata": {**OURS, "resourceVersion": "4"}}))
    await cluster.create(JOB)

    assert cluster.cache.version("Job", "team-a", "j") == 4


@pytest.mark.parametrize("ask", [Cluster.delete, Cluster.get])
async def test_what_the_server_does_not_find_is_no_longer_known(cluster: Cluster, server: Server, ask: Any) -> None:
    cluster.cache.put("Job", {**JOB, "metadata": {**OURS, "resourceVersion": "4"}})
    server.refuse(404, "NotFound")
    await ask(cluster, "Job", "team-a", "j")

    assert cluster.cache.get("Job", "team-a", "j") is None


async def test_what_is_not_ours_is_not_kept(cluster: Cluster, server: Server) -> None:
    server.answers.append((200, {**SERVICE, "metadata": {**SERVICE["metadata"], "resourceVersion": "4"}}))

    assert await cluster.get("Service", "team-a", "s") is not None
    assert cluster.cache.get("Service", "team-a", "s") is None


async def test_a_claim_is_posted_without_a_read(cluster: Cluster, server: Server) -> None:
    await cluster.create({"kind": "PersistentVolumeClaim", "metadata": {"namespace": "team-a", "name": "c"}})

    assert [(method, path) for method, path, _, _ in server.requests] == [
        ("POST", "/api/v1/namespaces/team-a/persistentvolumeclaims")
    ]


async def test_a_job_is_posted_without_a_read_before(cluster: Cluster, server: Server) -> None:
    await cluster.create(JOB)
    assert server.requests == [
        ("POST", "/apis/batch/v1/namespaces/team-a/jobs", {"fieldManager": "distillery"}, JOB),
    ]


async def test_other_children_are_applied_in_a_version_that_only_an_absent_object_can_have(
    cluster: Cluster, server: Server
) -> None:
    await cluster.create(SERVICE)
    method, path, query, body = server.requests[0]
    assert (method, path) == ("PATCH", "/api/v1/namespaces/team-a/services/s")
    assert body == {**SERVICE, "metadata": {**SERVICE["metadata"], "resourceVersion": "1"}}
    assert query == {"fieldManager": "distillery", "force": "true"}
    assert server.headers[0]["Content-Type"] == "application/apply-patch+yaml"


async def test_an_existing_object_is_left_alone(cluster: Cluster, server: Server) -> None:
    server.refuse(409, "Conflict", 'Operation cannot be fulfilled on services "s": the object has been modified')
    with pytest.raises(AlreadyExists):
        await cluster.create(SERVICE)


async def test_a_status_goes_with_the_version_that_was_read(cluster: Cluster, server: Server) -> None:
    metadata = {"namespace": "team-a", "name": "small", "resourceVersion": "41", "labels": {"a": "b"}}
    await cluster.write_status({"metadata": metadata, "spec": {}}, {"observedGeneration": 1})
    method, path, query, body = server.requests[0]
    assert method == "PATCH"
    assert path.endswith("/distillations/small/status")
    assert query == {"fieldManager": "distillery", "force": "true"}
    assert server.headers[0]["Content-Type"] == "application/apply-patch+yaml"
    assert body == {
        "apiVersion": "distillery.dev/v1alpha1",
        "kind": "Distillation",
        "metadata": {"name": "small", "namespace": "team-a", "resourceVersion": "41"},
        "status": {"observedGeneration": 1},
    }


async def test_a_check_is_a_strict_dry_run(cluster: Cluster, server: Server) -> None:
    await cluster.check(JOB)
    assert server.requests[0][2] == {"fieldManager": "distillery", "dryRun": "All", "fieldValidation": "Strict"}


async def test_a_deletion_waits_for_what_the_object_owns(cluster: Cluster, server: Server) -> None:
    await cluster.delete("Job", "team-a", "j")
    path = "/apis/batch/v1/namespaces/team-a/jobs/j"
    assert server.requests[0] == ("DELETE", path, {}, {"propagationPolicy": "Foreground"})


async def test_only_the_object_that_is_known_is_deleted(cluster: Cluster, server: Server) -> None:
    cluster.cache.put("Job", {**JOB, "metadata": {**OURS, "uid": "u1", "resourceVersion": "5"}})
    server.refuse(409, "Conflict", "the UID in the precondition (u1) does not match the UID in record (u2)")
    with pytest.raises(Conflict):
        await cluster.delete("Job", "team-a", "j")
    assert server.requests[0][3] == {"propagationPolicy": "Foreground", "preconditions": {"uid": "u1"}}


async def test_deleting_what_does_not_exist_is_no_error(cluster: Cluster, server: Server) -> None:
    server.refuse(404, "NotFound")
    await cluster.delete("Job", "team-a", "j")


async def test_a_change_of_some_fields_is_a_merge_patch(cluster: Cluster, server: Server) -> None:
    await cluster.merge("Job", "team-a", "j", {"spec": {"suspend": False}})
    assert server.headers[0]["Content-Type"] == "application/merge-patch+json"
    assert server.requests[0][3] == {"spec": {"suspend": False}}


@pytest.mark.parametrize(
    ("status", "reason", "error"),
    [
        (400, "BadRequest", Invalid),
        (401, "Unauthorized", ClusterError),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (413, "RequestEntityTooLarge", Invalid),
        (422, "Invalid", Invalid),
        (429, "TooManyRequests", Unreachable),
        (500, "InternalError", Unreachable),
        (503, "ServiceUnavailable", Unreachable),
    ],
)
async def test_a_refusal_is_one_of_our_errors_with_the_servers_words(
    cluster: Cluster, server: Server, status: int, reason: str, error: type[ClusterError]
) -> None:
    server.refuse(status, reason, "because of this")
    with pytest.raises(error) as raised:
        await cluster.merge("Job", "team-a", "j", {})
    assert type(raised.value) is error
    assert (str(raised.value), raised.value.status, raised.value.reason) == ("because of this", status, reason)


async def test_an_answer_of_a_proxy_is_reported_as_it_is(cluster: Cluster, server: Server) -> None:
    server.answers.append((502, "<html>bad gateway</html>"))
    with pytest.raises(Unreachable, match=r"GET /api/v1/namespaces/team-a/pods/p returned HTTP 502"):
        await cluster.get("Pod", "team-a", "p")


async def test_a_success_that_is_no_json_is_an_error_too(cluster: Cluster, server: Server) -> None:
    server.answers.append((200, "<html>log in here</html>"))
    with pytest.raises(Unreachable, match="the answer is not from an API server"):
        await cluster.get("Pod", "team-a", "p")


async def test_no_server_at_all_is_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, "http://127.0.0.1:1")))
    cluster = await Cluster.connect()
    with pytest.raises(Unreachable, match="no answer from the API server"):
        await cluster.get("Pod", "team-a", "p")
    await cluster.close()


async def test_without_a_configuration_it_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match="Run in a Pod, or set KUBECONFIG"):
        await Cluster.connect()


async def test_a_proxy_of_the_environment_is_used_but_for_what_it_excepts(
    cluster: Cluster, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = (await cluster.credentials()).server
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, "http://api.example.com:6443")))
    monkeypatch.setenv("http_proxy", address)
    proxied = await Cluster.connect()
    await proxied.get("Pod", "team-a", "p")
    assert server.headers[-1]["Host"] == "api.example.com:6443"
    await proxied.close()

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, address)))
    direct = await Cluster.connect()
    await direct.get("Pod", "team-a", "p")
    await direct.close()


async def test_passwords_of_the_users_home_are_not_looked_at(
    cluster: Cluster, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    await cluster.get("Pod", "team-a", "p")
    assert "somebody" not in str(server.headers)
    assert "Basic" not in str(server.headers)


async def test_events_that_may_not_be_listed_are_done_without(cluster: Cluster, server: Server) -> None:
    server.refuse(403, "Forbidden")
    assert [event async for event in cluster.failure_events("team-a")] == []


async def test_the_lease_is_replaced_as_it_was_read(cluster: Cluster, server: Server) -> None:
    lease = {"kind": "Lease", "metadata": {"namespace": "ops", "name": "d", "resourceVersion": "3"}, "spec": {}}
    await ClusterLease(cluster, "ops", "d").replace_lease(lease)
    method, path, _, body = server.requests[0]
    assert (method, path) == ("PUT", "/apis/coordination.k8s.io/v1/namespaces/ops/leases/d")
    assert body == lease


async def test_a_missing_lease_is_not_found(cluster: Cluster, server: Server) -> None:
    server.refuse(404, "NotFound")
    with pytest.raises(NotFound, match="no Lease ops/d"):
        await ClusterLease(cluster, "ops", "d").read_lease()
