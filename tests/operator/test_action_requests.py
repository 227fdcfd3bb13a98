"""The requests of actions, and what becomes of those that the API server refuses.

The server is a small one on loopback that answers each write as the test says; a real one is for the cluster tests.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from distillery_api.status import Refusal
from distillery_operator.cluster.client import Cluster
from distillery_operator.controller.action_requests import ActionRequests
from distillery_operator.controller.refusal_backoff import RefusalBackoff
from distillery_operator.core.actions import Action, Apply, Create, Delete, DryRun, Merge
from distillery_operator.errors import AlreadyExists, ClusterError, Unreachable

KEY = ("team-a", "small")
QUOTA = "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"
POLICY = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"
DENIED = 'admission webhook "p" denied the request: no'


def manifest(kind: str, name: str = "small") -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "namespace": "team-a"}}


ACTIONS: dict[str, tuple[Action, str, str]] = {
    "dry run": (DryRun(manifest("Pod", "small-check")), "POST /api/v1/namespaces/team-a/pods", "create Pod"),
    "Job": (Create(manifest("Job")), "POST /apis/batch/v1/namespaces/team-a/jobs", "create Job"),
    "claim": (
        Create(manifest("PersistentVolumeClaim")),
        "POST /api/v1/namespaces/team-a/persistentvolumeclaims",
        "create PersistentVolumeClaim",
    ),
    "apply": (
        Apply(manifest("Deployment")),
        "PATCH /apis/apps/v1/namespaces/team-a/deployments/small",
        "patch Deployment",
    ),
    "merge": (
        Merge("PersistentVolumeClaim", "small", {"metadata": {"ownerReferences": []}}),
        "PATCH /api/v1/namespaces/team-a/persistentvolumeclaims/small",
        "patch PersistentVolumeClaim metadata.ownerReferences",
    ),
    "suspend": (
        Merge(
            "Job",
            "small",
            {"spec": {"suspend": True}, "metadata": {"annotations": {"distillery.dev/suspended": "true"}}},
        ),
        "PATCH /apis/batch/v1/namespaces/team-a/jobs/small",
        "patch Job spec.suspend",
    ),
    "suspend in a queue": (
        Merge("Workload", "small", {"spec": {"active": False}}),
        "PATCH /apis/kueue.x-k8s.io/v1beta2/namespaces/team-a/workloads/small",
        "patch Workload spec.active",
    ),
    "delete": (Delete("Job", "small"), "DELETE /apis/batch/v1/namespaces/team-a/jobs/small", "delete Job"),
}
"""An action, its request, and what a refusal is about."""

ANSWERS = {
    "403": (403, "Forbidden", "pods is forbidden: User x cannot create", "PodRefused"),
    "403 of a quota": (
        403,
        "Forbidden",
        "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2",
        "Queued",
    ),
    "422": (422, "Invalid", "spec.template: Invalid value: field is immutable", "InvalidSpec"),
    "422 of a policy": (
        422,
        "Invalid",
        "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
        "PodRefused",
    ),
    "401 of a policy": (401, "Unauthorized", "ValidatingAdmissionPolicy 'p' denied request: no", "PodRefused"),
    "413": (413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728", "InvalidSpec"),
    "400 of a webhook": (400, "", DENIED, "PodRefused"),
    "404 of a webhook": (404, "NotFound", DENIED, "PodRefused"),
    "409 of a webhook": (409, "Conflict", DENIED, "PodRefused"),
    "429 of a webhook": (429, "TooManyRequests", DENIED, "PodRefused"),
    "500 of a webhook": (500, "", DENIED, "PodRefused"),
    "no webhook": (500, "InternalError", 'Internal error occurred: failed calling webhook "w": no endpoints', "Queued"),
}
"""Status, reason and message of the server, and the reason in our status."""


@dataclass
class Server:
    """Answers reads with 404, and writes as the test says, by method; otherwise with an empty object."""

    answers: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    applied: dict[str, Any] = field(default_factory=lambda: {"metadata": {}})
    """The object that a write returns."""

    async def answer(self, request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.json_response({"kind": "Status", "reason": "NotFound", "message": "no"}, status=404)
        self.writes.append(f"{request.method} {request.path}")
        if request.method not in self.answers:
            return web.json_response(self.applied)
        status, reason, message = self.answers[request.method]
        return web.json_response({"kind": "Status", "reason": reason, "message": message}, status=status)


@dataclass
class Clock:
    """A monotonic clock that stands still."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def cluster(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    content = {
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(content))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    cluster = await Cluster.connect()
    yield cluster
    await cluster.close()
    await runner.cleanup()


@pytest.fixture
def requests(cluster: Cluster, clock: Clock) -> ActionRequests:
    return ActionRequests(cluster, RefusalBackoff(clock))


async def one_pass(
    requests: ActionRequests, actions: list[Action], kept: tuple[Refusal, ...] = ()
) -> tuple[Refusal, ...]:
    """What is refused after one pass."""
    checked = await requests.check(KEY, actions, kept)
    outcome = await requests.carry_out(KEY, actions, checked)
    if outcome.failure:
        raise outcome.failure
    return outcome.refusals


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize("what", ACTIONS)
async def test_a_refused_action_is_tried_again_with_its_own_verb_and_ever_more_rarely(
    requests: ActionRequests, server: Server, clock: Clock, what: str, answer: tuple[int, str, str, str]
) -> None:
    action, request, about = ACTIONS[what]
    server.answers[request.split()[0]] = answer[:3]
    refusals: tuple[Refusal, ...] = ()
    for _ in range(100):  # as if there were an event every three seconds
        refusals = await one_pass(requests, [action], refusals)
        clock.now += 3.0

    assert set(server.writes) == {request}
    assert 6 <= len(server.writes) <= 8
    assert len(refusals) == 1
    kept = refusals[0]
    assert (kept.reason, kept.message) == (answer[3], answer[2])
    assert " ".join(filter(None, (kept.verb, kept.kind, kept.field))) == about

    server.answers.clear()
    clock.now += 76.0
    assert await one_pass(requests, [action], refusals) == ()


async def test_what_is_not_refused_is_done_all_the_same(requests: ActionRequests, server: Server) -> None:
    server.answers["DELETE"] = (403, "Forbidden", DENIED)
    await one_pass(requests, [ACTIONS["delete"][0], ACTIONS["merge"][0], ACTIONS["Job"][0]])
    assert server.writes == [ACTIONS["delete"][1], ACTIONS["merge"][1], ACTIONS["Job"][1]]


async def test_a_job_waits_for_its_claim_and_its_config_map(requests: ActionRequests, server: Server) -> None:
    server.answers["POST"] = (403, "Forbidden", DENIED)
    await one_pass(requests, [ACTIONS["claim"][0], Apply(manifest("ConfigMap")), ACTIONS["Job"][0]])
    assert server.writes == [ACTIONS["claim"][1]]


async def test_two_changes_of_one_object_are_refused_apart(requests: ActionRequests, server: Server) -> None:
    owner, size = ACTIONS["merge"][0], Merge("PersistentVolumeClaim", "small", {"spec": {"resources": {}}})
    server.answers["PATCH"] = (403, "Forbidden", DENIED)
    refusals = await one_pass(requests, [owner, size])
    assert [each.field for each in refusals] == ["metadata.ownerReferences", "spec.resources"]


async def test_a_restarted_operator_tries_at_once(requests: ActionRequests, server: Server) -> None:
    server.answers["POST"] = (403, "Forbidden", DENIED)
    refusals = await one_pass(requests, [ACTIONS["Job"][0]])
    server.answers.clear()
    requests.forget(KEY)
    assert await one_pass(requests, [ACTIONS["Job"][0]], refusals) == ()


@pytest.mark.parametrize("answer", [(500, "InternalError", "etcd"), (503, "", "no"), (429, "TooManyRequests", "busy")])
async def test_a_server_that_cannot_answer_is_no_refusal(
    requests: ActionRequests, server: Server, answer: tuple[int, str, str]
) -> None:
    server.answers["POST"] = answer
    with pytest.raises(Unreachable):
        await one_pass(requests, [ACTIONS["Job"][0]])


async def test_nothing_is_left_to_change_of_an_object_that_is_gone(requests: ActionRequests, server: Server) -> None:
    server.answers["PATCH"] = (404, "NotFound", "jobs.batch not found")
    assert await one_pass(requests, [ACTIONS["suspend"][0]]) == ()


async def test_a_token_that_has_expired_is_no_refusal(requests: ActionRequests, server: Server) -> None:
    server.answers["POST"] = (401, "Unauthorized", "Unauthorized")
    with pytest.raises(ClusterError, match="Unauthorized"):
        await one_pass(requests, [ACTIONS["Job"][0]])


@pytest.mark.parametrize("what", ["apply", "Job"])
@pytest.mark.parametrize(
    ("reason", "message"), [("NotFound", "the server could not find the requested resource"), ("", "")]
)
async def test_a_kind_that_the_cluster_does_not_have_is_refused(
    requests: ActionRequests, server: Server, what: str, reason: str, message: str
) -> None:
    server.answers[ACTIONS[what][1].split()[0]] = (404, reason, message)
    refusals = await one_pass(requests, [ACTIONS[what][0], ACTIONS["delete"][0]])
    unserved = {"apply": "deployments of apps/v1", "Job": "jobs of batch/v1"}[what]
    sentence = f"the cluster does not serve {unserved}; install that API"
    assert [(each.reason, each.message) for each in refusals] == [("InvalidSpec", sentence)]
    assert server.writes == [ACTIONS[what][1], ACTIONS["delete"][1]]


async def test_many_refused_deletions_hide_nothing_else_and_are_sent_no_more_often(
    requests: ActionRequests, server: Server, clock: Clock
) -> None:
    server.answers = dict.fromkeys(("DELETE", "PATCH"), (403, "Forbidden", DENIED))
    actions: list[Action] = [*(Delete("Job", f"old-{number}") for number in range(12)), ACTIONS["apply"][0]]
    refusals: tuple[Refusal, ...] = ()
    for _ in range(10):
        refusals = await one_pass(requests, actions, refusals)
        clock.now += 0.1
    assert len(server.writes) == 13
    assert [each.name for each in refusals] == [*(f"old-{number}" for number in range(7)), "small"]
    assert refusals[-1].kind == "Deployment"

    server.answers.clear()
    clock.now += 76.0
    assert await one_pass(requests, actions, refusals) == ()
    assert requests.due_in(KEY) is None


DELETION, CLAIM_PATCH = ACTIONS["delete"], ACTIONS["merge"]


@pytest.mark.parametrize("answer", [(500, "InternalError", "etcd"), (504, "Timeout", "no answer in time")])
async def test_what_the_server_does_not_answer_keeps_nothing_else_back(
    requests: ActionRequests, server: Server, answer: tuple[int, str, str]
) -> None:
    server.answers["DELETE"] = answer
    with pytest.raises(Unreachable):
        await one_pass(requests, [DELETION[0], CLAIM_PATCH[0], ACTIONS["Job"][0]])
    assert server.writes == [DELETION[1], CLAIM_PATCH[1], ACTIONS["Job"][1]]


async def test_what_needs_an_object_that_was_not_answered_for_waits(requests: ActionRequests, server: Server) -> None:
    server.answers["POST"] = (504, "Timeout", "no answer in time")
    with pytest.raises(Unreachable):
        await one_pass(requests, [ACTIONS["claim"][0], ACTIONS["Job"][0], ACTIONS["apply"][0]])
    assert server.writes == [ACTIONS["claim"][1], ACTIONS["apply"][1]]


async def test_a_refusal_beside_what_is_not_answered_is_kept(requests: ActionRequests, server: Server) -> None:
    server.answers.update(DELETE=(504, "Timeout", "no"), PATCH=(403, "Forbidden", DENIED))
    outcome = await requests.carry_out(KEY, [DELETION[0], CLAIM_PATCH[0]], ())
    assert [each.kind for each in outcome.refusals] == ["PersistentVolumeClaim"]
    assert isinstance(outcome.failure, Unreachable)


async def test_a_second_request_without_an_answer_ends_the_pass(requests: ActionRequests, server: Server) -> None:
    server.answers = dict.fromkeys(("DELETE", "PATCH"), (504, "Timeout", "no answer in time"))
    with pytest.raises(Unreachable):
        await one_pass(requests, [DELETION[0], CLAIM_PATCH[0], ACTIONS["Job"][0]])
    assert server.writes == [DELETION[1], CLAIM_PATCH[1]]


async def test_a_server_that_asks_for_rest_gets_it(requests: ActionRequests, server: Server) -> None:
    server.answers["DELETE"] = (429, "TooManyRequests", "busy")
    with pytest.raises(Unreachable):
        await one_pass(requests, [DELETION[0], ACTIONS["Job"][0]])
    assert server.writes == [DELETION[1]]


@pytest.mark.parametrize(("answered", "sent"), [("7", 0), ("8", 1)])
async def test_an_apply_that_changes_nothing_counts_as_not_sent(
    requests: ActionRequests, cluster: Cluster, server: Server, answered: str, sent: int
) -> None:
    metadata = {
        "namespace": "team-a",
        "name": "small",
        "labels": {"app.kubernetes.io/managed-by": "distillery", "distillery.dev/name": "small"},
    }
    known = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"paused": False}}
    cluster.cache.put("Deployment", {**known, "metadata": {**metadata, "resourceVersion": "7"}})
    server.applied = {**known, "metadata": {**metadata, "resourceVersion": answered}}

    outcome = await requests.carry_out(KEY, [Apply(known)], ())
    assert len(outcome.sent) == sent
    assert server.writes == ["PATCH /apis/apps/v1/namespaces/team-a/deployments/small"]


async def test_a_name_that_was_taken_for_a_moment_is_tried_again(requests: ActionRequests, server: Server) -> None:
    server.answers["POST"] = (409, "AlreadyExists", 'jobs.batch "small" already exists')
    with pytest.raises(AlreadyExists):  # which has the whole pass done again
        await one_pass(requests, [ACTIONS["Job"][0], ACTIONS["apply"][0]])


@pytest.mark.parametrize("what", ["delete", "suspend"])
async def test_what_was_gone_before_is_noticed_at_once(
    requests: ActionRequests, cluster: Cluster, server: Server, what: str
) -> None:
    known = manifest("Job")
    known["metadata"].update(resourceVersion="5", labels={"app.kubernetes.io/managed-by": "distillery"})
    cluster.cache.put("Job", known)
    assert not (await requests.carry_out(KEY, [ACTIONS[what][0]], ())).found_gone

    server.answers = dict.fromkeys(("DELETE", "PATCH"), (404, "NotFound", "jobs.batch not found"))
    assert (await requests.carry_out(KEY, [ACTIONS[what][0]], ())).found_gone
    assert cluster.cache.get("Job", "team-a", "small") is None


@pytest.mark.parametrize(("message", "refused"), [(f"pods is forbidden: {QUOTA}", False), (POLICY, True)])
async def test_a_quota_is_no_refusal_of_a_pod_that_replaces_another(
    requests: ActionRequests, server: Server, message: str, refused: bool
) -> None:
    server.answers["POST"] = (403, "Forbidden", message)
    check = DryRun(manifest("Pod", "small-check"), replaces_equal=True)
    assert bool(await one_pass(requests, [check, ACTIONS["apply"][0]])) is refused
    assert (ACTIONS["apply"][1] in server.writes) is not refused
