"""`serving.sharedServer`: the students of several Distillations on one server, each as an adapter."""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import Any

import pytest

from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import ConditionType, ServingStatus
from simulated_cluster import RUN_STAGES
from simulated_shared_server import SharedServer, Student

READY, STALLED, AVAILABLE = ConditionType.READY, ConditionType.STALLED, ConditionType.AVAILABLE
RECONCILING = ConditionType.RECONCILING
AS_HOST: dict[str, Any] = {"runtime": "VLLM", "adapter": "LoRA"}
AS_GUEST = {**AS_HOST, "sharedServer": "host"}

Raw = dict[str, Any]


def adapter(student: Student) -> str:
    return f"/adapters/{student.plan.stage(Stage.TRAIN).folder}"


def loaded(host: Student) -> Raw:
    """What the host's Pods load."""
    found: Raw = json.loads(host.adapters["data"]["adapters.json"])
    return found


def serving(student: Student) -> ServingStatus:
    assert student.status.serving is not None
    return student.status.serving


def message(student: Student) -> str:
    found = student.condition(READY)
    assert found is not None
    return found.message


def state(student: Student) -> tuple[Any, ...]:
    """What kstatus and Argo CD read."""
    return student.truth(READY), student.reason(), student.truth(RECONCILING), student.truth(STALLED)


@cache
def _with_host() -> SharedServer:
    namespace = SharedServer()
    namespace.add("host", serving=AS_HOST).run(*Stage)
    assert namespace.students["host"].truth(READY) == "True"
    return namespace


@cache
def _with_guest() -> SharedServer:
    namespace = copy.deepcopy(_with_host())
    served_guest(namespace)
    return namespace


@pytest.fixture
def namespace(request: pytest.FixtureRequest) -> SharedServer:
    """A host whose student is served and, for tests with a guest, that of a guest."""
    return copy.deepcopy(_with_guest() if "guest" in request.fixturenames else _with_host())


@pytest.fixture
def host(namespace: SharedServer) -> Student:
    return namespace.students["host"]


@pytest.fixture
def guest(namespace: SharedServer) -> Student:
    return namespace.students["guest"]


def guest_of(namespace: SharedServer, name: str = "guest", **changes: Any) -> Student:
    return namespace.add(name, **{"serving": AS_GUEST, "training": {"seed": 3}, **changes})


def served_guest(namespace: SharedServer) -> Student:
    guest = guest_of(namespace)
    guest.run(*RUN_STAGES, Stage.VERIFY)
    assert state(guest) == ("True", "Serving", None, None)
    return guest


def test_a_guest_joins_and_no_pod_is_replaced(namespace: SharedServer, host: Student) -> None:
    before, pods = copy.deepcopy(host.objects["Deployment", "host"]), list(host.serving_pods)
    guest = guest_of(namespace, serving={**AS_GUEST, "modelNames": ["gpt-4o"]})
    guest.run(*RUN_STAGES)
    assert loaded(host) == {"host": adapter(host), "guest": adapter(guest), "gpt-4o": adapter(guest)}
    assert guest.reason(ConditionType.VERIFIED) == "Verifying"
    guest.run(Stage.VERIFY)
    assert (host.objects["Deployment", "host"], host.serving_pods) == (before, pods)
    assert state(guest) == state(host) == ("True", "Serving", None, None)
    assert guest.truth(AVAILABLE) == "True"
    assert message(guest) == "the student is served at http://guest.team-a.svc:8000/v1 by the shared server of host"

    assert sorted(kind for kind, _ in guest.objects if kind not in ("Job", "ConfigMap")) == [
        "PersistentVolumeClaim",
        "Service",
    ]
    selector = {"app.kubernetes.io/component": "serving", "distillery.dev/name": "host"}
    assert guest.objects["Service", "guest"]["spec"]["selector"] == selector
    now = serving(guest)
    assert (now.url, now.model, now.shared_server) == ("http://guest.team-a.svc:8000/v1", "guest", "host")
    assert (now.replicas, now.ready_replicas, now.image) == (1, 1, serving(host).image)
    assert (serving(host).guests, now.guests, serving(host).shared_server) == (("guest",), (), None)
    assert guest.decisions() == host.decisions() == ()


def test_the_guest_is_verified_under_its_own_name_through_its_own_service(
    namespace: SharedServer, guest: Student
) -> None:
    name = f"guest-verify-{guest.record(Stage.VERIFY).input_hash}"
    config = json.loads(guest.objects["ConfigMap", name]["data"]["run.json"])
    given = (config["name"], config["serverUrl"], config["servedAdapter"])
    assert given == ("guest", "http://guest.team-a.svc:8000/v1", adapter(guest))


def test_a_new_student_of_a_guest_takes_over_and_one_that_answers_otherwise_goes_back(
    namespace: SharedServer, host: Student, guest: Student
) -> None:
    first = adapter(guest)
    guest.change(training={"seed": 4})
    guest.run(Stage.TRAIN, Stage.EVALUATE)
    second = adapter(guest)
    assert loaded(host) == {"host": adapter(host), "guest": second}
    assert (guest.truth(READY), guest.truth(AVAILABLE)) == ("Unknown", "True")
    guest.run(Stage.VERIFY)
    assert (state(guest), serving(guest).model_path) == (
        ("True", "Serving", None, None),
        f"{second.removeprefix('/adapters/')}/model",
    )

    guest.change(training={"seed": 5})
    guest.run(Stage.TRAIN, Stage.EVALUATE)
    assert loaded(host)["guest"] == adapter(guest) not in (first, second)
    guest.start()
    guest.fail(2, Reason.VERIFICATION_FAILED, "3 of 16 rows were answered otherwise")
    namespace.settle()
    assert loaded(host) == {"host": adapter(host), "guest": second}
    assert state(guest) == ("False", "VerificationFailed", None, "True")
    assert (guest.truth(AVAILABLE), state(host)) == ("True", ("True", "Serving", None, None))


def test_a_pinned_run_of_a_guest_is_served_again(namespace: SharedServer, host: Student, guest: Student) -> None:
    first = adapter(guest)
    guest.change(training={"seed": 4})
    guest.run(Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY)
    assert loaded(host)["guest"] != first
    guest.change(serving={**AS_GUEST, "pinnedRun": first.removeprefix("/adapters/train-")})
    namespace.settle()
    assert (loaded(host)["guest"], guest.truth(READY)) == (first, "True")


def test_a_guest_waits_to_be_promoted(namespace: SharedServer, host: Student) -> None:
    guest = guest_of(namespace, serving={**AS_GUEST, "rollout": {"strategy": "Manual"}})
    guest.run(*RUN_STAGES)
    assert (guest.reason(), loaded(host)) == ("AwaitingPromotion", {"host": adapter(host)})
    guest.annotations["distillery.dev/promote"] = guest.plan.stage(Stage.TRAIN).input_hash
    guest.run(Stage.VERIFY)
    assert (guest.truth(READY), loaded(host)["guest"]) == ("True", adapter(guest))


def test_a_deleted_guest_is_unloaded_and_its_host_serves_on(
    namespace: SharedServer, host: Student, guest: Student
) -> None:
    namespace.remove("guest")
    namespace.settle()
    assert (loaded(host), serving(host).guests) == ({"host": adapter(host)}, ())
    assert state(host) == ("True", "Serving", None, None)


def test_a_guest_that_is_no_longer_served_leaves_nothing_behind(
    namespace: SharedServer, host: Student, guest: Student
) -> None:
    guest.change(serving={**AS_GUEST, "mode": "None"})
    namespace.settle()
    assert loaded(host) == {"host": adapter(host)}
    assert [key for key in guest.objects if key[0] in ("Service", "Deployment")] == []
    assert (guest.adapters, guest.truth(READY)) == (None, "True")


def test_what_a_guest_owns_is_repaired(namespace: SharedServer, host: Student, guest: Student) -> None:
    right = loaded(host)
    guest.adapters["data"]["adapters.json"] = "[]"
    namespace.settle()
    assert loaded(host) == right
    guest.delete("ConfigMap", "guest-adapters")
    guest.delete("Service", "guest")
    host.delete("ConfigMap", "host-adapters")
    namespace.settle()
    assert (loaded(host), state(guest)) == (right, ("True", "Serving", None, None))
    assert ("Service", "guest") in guest.objects


def test_the_ready_condition_of_a_host_does_not_flip_when_guests_come_and_go(
    namespace: SharedServer, host: Student
) -> None:
    guest = guest_of(namespace)
    guest.run(*RUN_STAGES[:-1])
    guest.start()
    guest.finish()
    for _ in range(6):
        guest.reconcile()
        host.reconcile()
        assert state(host) == ("True", "Serving", None, None)
    assert "guest" in loaded(host)


# What a guest and its host do not have in common.

OTHER_BASE = {"student": {"model": {"uri": "hf://org/other"}}}


@pytest.mark.parametrize(
    ("host", "guest", "sentence"),
    [
        (
            {},
            {"storage": {"claimName": "others"}},
            "storage.claimName: the shared server of host mounts the claim models, not others; delete this"
            " Distillation, and apply it with that claim",
        ),
        (
            {},
            OTHER_BASE,
            "student.model.uri: the shared server of host serves hf://org/small; write the same",
        ),
        (
            {},
            {"task": "ToolCalling"},
            "task: the student of host, with whose chat template this one is served, calls no tools; remove"
            " serving.sharedServer, or name a host of the same kind",
        ),
        (
            {"task": "ToolCalling"},
            {"task": "ToolCalling", "student": {"model": {"uri": "hf://org/small"}, "toolFormat": "Hermes"}},
            "student.toolFormat: it is Template in host, with whose chat template the student is served; write the"
            " same",
        ),
        (
            {},
            {"training": {"lora": {"rank": 12}}},
            "training.lora.rank: the shared server of host is started for ranks up to 8; lower it, or raise that of"
            " host",
        ),
        (
            {"serving": {**AS_HOST, "apiKey": {"secretName": "clients"}}},
            {},
            "serving.apiKey: the shared server of host wants the key api-key of the Secret clients; name the same",
        ),
        (
            {},
            {"serving": {**AS_GUEST, "apiKey": {"secretName": "clients"}}},
            "serving.apiKey: the shared server of host wants no key; remove it, or set it there as well",
        ),
        (
            {"serving": {**AS_HOST, "modelNames": ["guest"]}},
            {},
            "metadata.name: on the shared server of host, guest is a name of the student of host already; choose"
            " another",
        ),
        (
            {"serving": {**AS_HOST, "modelNames": ["gpt-4o"]}},
            {"serving": {**AS_GUEST, "modelNames": ["gpt-4", "gpt-4o"]}},
            "serving.modelNames: on the shared server of host, gpt-4o is a name of the student of host already; choose"
            " another",
        ),
        (
            {},
            {"serving": {**AS_GUEST, "modelNames": ["host-base"]}},
            "serving.modelNames: on the shared server of host, host-base is a name of the base model already; choose"
            " another",
        ),
        (
            {"serving": {"runtime": "VLLM"}},
            {},
            "serving.sharedServer: the server of host loads no adapters (its serving.adapter is Merged); set that to"
            " LoRA",
        ),
        (
            {"serving": {**AS_HOST, "mode": "None"}},
            {},
            "serving.sharedServer: host has no server (its serving.mode is None); set its mode to Deployment",
        ),
        (
            {"serving": {**AS_HOST, "sharedServer": "another"}},
            {},
            "serving.sharedServer: host has no server of its own; name another, whose server it shares",
        ),
        (
            {},
            {"serving": {**AS_HOST, "sharedServer": "guest"}},
            "serving.sharedServer names this Distillation itself; name another one",
        ),
    ],
)
def test_a_guest_that_does_not_suit_its_host_is_stalled_before_anything_is_paid(
    host: Raw, guest: Raw, sentence: str
) -> None:
    namespace = SharedServer()
    namespace.add("host", **{"serving": AS_HOST, **host})
    refused = guest_of(namespace, **guest)
    refused.objects["PersistentVolumeClaim", "others"] = refused.objects["PersistentVolumeClaim", "models"]
    refused.reconcile()
    assert state(refused) == ("False", "InvalidSpec", None, "True")
    assert message(refused) == f"generate: {sentence}"
    assert (refused.jobs(), refused.adapters) == ([], None)


def test_a_host_that_is_not_there_yet_is_waited_for_before_anything_is_paid() -> None:
    namespace = SharedServer()
    guest = guest_of(namespace)
    guest.reconcile()
    assert state(guest) == ("False", "ConfigurationMissing", "True", None)
    assert message(guest) == (
        "generate: serving.sharedServer: the Distillation host does not exist in the namespace team-a"
    )
    host = namespace.add("host", serving=AS_HOST)
    host.is_valid = False
    guest.reconcile()
    assert message(guest) == "generate: serving.sharedServer: the Distillation host is invalid"
    host.is_valid = True
    guest.reconcile()
    assert (state(guest), len(guest.jobs())) == (("False", "GeneratingData", "True", None), 1)


def test_a_guest_is_made_while_its_host_is_and_waits_only_for_the_server() -> None:
    namespace = SharedServer()
    host, guest = namespace.add("host", serving=AS_HOST, suspend=True), guest_of(namespace)
    guest.run(*RUN_STAGES)
    assert state(guest) == ("False", "RollingOut", "True", None)
    waiting = "serving: waiting for the shared server of host, which does not serve yet"
    assert message(guest) == f"{waiting}: host is suspended"
    namespace.wait(3600)
    host.change(suspend=False)
    namespace.settle()
    assert (message(guest), guest.adapters) == (waiting, None)
    host.run(*Stage)
    guest.run(Stage.VERIFY)
    assert (state(guest), loaded(host)["guest"]) == (("True", "Serving", None, None), adapter(guest))


def test_of_two_guests_that_want_a_name_the_first_by_name_gets_it_and_keeps_it(namespace: SharedServer) -> None:
    named = {"serving": {**AS_GUEST, "modelNames": ["gpt-4o"]}}
    second, first = guest_of(namespace, "b", **named), guest_of(namespace, "a", **named)
    first.reconcile()
    second.reconcile()
    assert (len(first.jobs()), second.jobs()) == (1, [])
    assert message(second) == (
        "generate: serving.modelNames: on the shared server of host, gpt-4o is a name of a already; choose another"
    )
    namespace.remove("a")
    second.run(*RUN_STAGES, Stage.VERIFY)
    third = guest_of(namespace, "aa", **named)
    third.reconcile()
    assert message(third).endswith("gpt-4o is a name of b already; choose another")
    namespace.settle()
    assert state(second) == ("True", "Serving", None, None)


def test_a_sixteenth_student_finds_no_room(namespace: SharedServer, host: Student) -> None:
    for number in range(14):
        guest_of(namespace, f"a{number:02}", training={"seed": number})
    last = guest_of(namespace, "b")
    last.reconcile()
    assert message(last) == (
        "generate: serving.sharedServer: the server of host serves 15 students, and has room for no other; share"
        " another server"
    )
    namespace.remove("a03")
    last.reconcile()
    assert len(last.jobs()) == 1


def test_a_served_guest_that_no_longer_suits_its_host_is_served_on(
    namespace: SharedServer, host: Student, guest: Student
) -> None:
    right = loaded(host)
    guest.change(**OTHER_BASE)
    namespace.settle()
    assert (loaded(host), guest.truth(AVAILABLE)) == (right, "True")
    assert state(guest) == ("False", "InvalidSpec", None, "True")
    guest.change(student={"model": {"uri": "hf://org/small"}})
    guest.run(Stage.TRAIN, Stage.EVALUATE)
    assert state(guest) == ("True", "Serving", None, None)


def test_a_guest_names_why_its_host_does_not_serve() -> None:
    namespace = SharedServer()
    host = namespace.add("host", serving=AS_HOST, evaluation={"gate": {"minScore": 0.95}})
    guest = guest_of(namespace)
    for each in (host, guest):
        each.run(*RUN_STAGES)
    assert (host.reason(), state(guest)) == ("QualityGateFailed", ("False", "RollingOut", "True", None))
    assert message(guest) == (
        "serving: waiting for the shared server of host, which does not serve yet: host is stalled (QualityGateFailed)"
    )


def test_a_guest_says_what_its_server_does(namespace: SharedServer, host: Student, guest: Student) -> None:
    guest.change(training={"seed": 4})
    guest.run(Stage.TRAIN)
    guest.start()
    guest.finish()
    guest.reconcile()
    assert message(guest) == "serving: the shared server of host is loading the student"
    namespace.settle()
    guest.start()
    guest.finish()
    host.change(serving={**AS_HOST, "image": "vllm:2"})
    namespace.settle()
    assert message(guest) == "serving: the shared server of host is starting"


# What becomes of the guests when something becomes of their host.


def test_guests_of_a_deleted_host_say_so_and_are_right_again_with_the_next_one(
    namespace: SharedServer, host: Student, guest: Student
) -> None:
    namespace.remove("host")
    namespace.settle()
    missing = "serving.sharedServer: the Distillation host does not exist in the namespace team-a"
    assert (state(guest), message(guest)) == (
        ("False", "ConfigurationMissing", "True", None),
        f"serving: {missing}",
    )
    found = guest.condition(AVAILABLE)
    assert found is not None
    assert (guest.truth(AVAILABLE), found.reason, found.message) == ("False", "ConfigurationMissing", missing)
    namespace.wait(601)
    namespace.settle()
    assert state(guest) == ("False", "ConfigurationMissing", None, "True")
    assert guest.adapters is not None

    again = namespace.add("host", serving=AS_HOST)
    again.now = guest.now
    again.run(*Stage)
    assert loaded(again)["guest"] == adapter(guest)
    assert state(guest) == ("True", "Serving", None, None)
    assert len([name for name in guest.jobs() if name.startswith("guest-train-")]) == 1


def test_guests_of_a_host_whose_spec_is_invalid_are_available(
    namespace: SharedServer, host: Student, guest: Student
) -> None:
    host.is_valid = False
    guest.reconcile()
    assert state(guest) == ("Unknown", "ConfigurationMissing", "True", None)
    assert (message(guest), guest.truth(AVAILABLE)) == (
        "serving: serving.sharedServer: the Distillation host is invalid",
        "True",
    )
    host.is_valid = True
    guest.reconcile()
    assert state(guest) == ("True", "Serving", None, None)


def test_guests_of_a_suspended_host_are_served_on(namespace: SharedServer, host: Student, guest: Student) -> None:
    host.change(suspend=True)
    namespace.settle()
    assert state(guest) == ("True", "Serving", None, None)


def test_guests_of_a_host_that_is_scaled_to_zero_say_so_as_it_does(
    namespace: SharedServer, host: Student, guest: Student
) -> None:
    host.change(serving={**AS_HOST, "replicas": 0})
    namespace.settle()
    host.serve()
    namespace.settle()
    assert (guest.truth(READY), guest.truth(AVAILABLE)) == (host.truth(READY), host.truth(AVAILABLE))
    assert (guest.truth(AVAILABLE), message(guest)) == ("False", "the shared server of host is scaled to zero")
    host.change(serving=AS_HOST)
    namespace.settle()
    host.serve()
    namespace.settle()
    assert (state(guest), guest.truth(AVAILABLE)) == (("True", "Serving", None, None), "True")


def test_guests_of_a_host_that_becomes_merged_are_served_until_it_is(
    namespace: SharedServer, host: Student, guest: Student
) -> None:
    host.change(serving={"runtime": "VLLM"})
    namespace.settle()
    assert (state(guest), guest.truth(AVAILABLE)) == (("False", "InvalidSpec", None, "True"), "True")
    assert "(its serving.adapter is Merged)" in message(guest)
    host.run(Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY)
    assert (state(guest), guest.truth(AVAILABLE)) == (("False", "InvalidSpec", None, "True"), "False")
    host.change(serving=AS_HOST)
    host.run(Stage.TRAIN, Stage.EVALUATE)
    host.serve()
    namespace.settle()
    assert (state(guest), loaded(host)["guest"]) == (("True", "Serving", None, None), adapter(guest))


def test_a_guest_is_verified_again_in_other_pods_of_its_host(
    namespace: SharedServer, host: Student, guest: Student
) -> None:
    host.change(serving={**AS_HOST, "image": "vllm:2"})
    namespace.settle()
    assert guest.truth(AVAILABLE) == "True", "the Pods before still answer"
    host.serve()
    namespace.settle()
    for each in (host, guest):
        each.start()
        each.finish()
    namespace.settle()
    assert state(host) == state(guest) == ("True", "Serving", None, None)
    assert serving(guest).image == "vllm:2"


def test_a_guest_that_other_pods_of_its_host_answer_otherwise_says_so(
    namespace: SharedServer, host: Student, guest: Student
) -> None:
    right = loaded(host)
    host.change(serving={**AS_HOST, "image": "vllm:2"})
    namespace.settle()
    host.serve()
    namespace.settle()
    host.start()
    host.finish()
    guest.start()
    guest.fail(2, Reason.VERIFICATION_FAILED, "3 of 16 rows were answered otherwise")
    namespace.settle()
    assert (state(guest), loaded(host)) == (("False", "VerificationFailed", None, "True"), right)
    assert guest.truth(AVAILABLE) == "False"
    host.change(serving=AS_HOST)
    namespace.settle()
    host.serve()
    namespace.settle()
    assert state(guest) == ("True", "Serving", None, None), "it was verified in those Pods before"


def test_a_host_with_another_base_model_loads_no_adapter_of_the_one_before(
    namespace: SharedServer, host: Student, guest: Student
) -> None:
    host.change(**OTHER_BASE)
    namespace.settle()
    assert loaded(host)["guest"] == adapter(guest), "until the host has a student of the new one"
    assert state(guest) == ("False", "InvalidSpec", None, "True")
    host.run(Stage.TRAIN, Stage.EVALUATE, Stage.VERIFY)
    assert (loaded(host), host.truth(READY), serving(host).guests) == ({"host": adapter(host)}, "True", ())
    assert guest.truth(AVAILABLE) == "False"


def test_a_student_that_failed_is_not_tried_again_because_its_host_was_away(
    namespace: SharedServer, host: Student, guest: Student
) -> None:
    first = adapter(guest)
    guest.change(training={"seed": 5})
    guest.run(Stage.TRAIN, Stage.EVALUATE)
    guest.start()
    guest.fail(2, Reason.VERIFICATION_FAILED, "3 of 16 rows were answered otherwise")
    namespace.settle()
    attempts = guest.record(Stage.VERIFY).attempts
    for kept in (False, True):
        host.exists = kept
        namespace.settle()
        assert state(guest) == ("False", "VerificationFailed", None, "True")
    assert (loaded(host)["guest"], guest.record(Stage.VERIFY).attempts) == (first, attempts)


@pytest.mark.parametrize("writes", range(1, 5))
def test_an_operator_that_dies_while_a_guest_joins_carries_on(namespace: SharedServer, writes: int) -> None:
    host, guest = namespace.students["host"], guest_of(namespace)
    guest.run(*RUN_STAGES[:-1])
    guest.start()
    guest.finish()
    guest.reconcile(dies_after=writes)
    host.reconcile(dies_after=writes)
    guest.run(Stage.VERIFY)
    assert (state(guest), loaded(host)["guest"]) == (("True", "Serving", None, None), adapter(guest))


# One GPU on one node.

GPU = {"resources": {"limits": {"nvidia.com/gpu": 1}}}


def test_guests_say_that_their_server_is_stopped_for_a_training_of_its_host() -> None:
    namespace = SharedServer()
    host = namespace.add("host", serving={**AS_HOST, **GPU}, training=GPU)
    host.run(*Stage)
    guest = served_guest(namespace)
    host.change(training={**GPU, "seed": 9})
    namespace.settle()
    assert host.objects["Deployment", "host"]["spec"]["replicas"] == 0
    host.serve()
    namespace.settle()
    stopped = "the shared server of host is stopped while a stage of host uses its GPU, and starts again afterwards"
    assert (state(guest), message(guest)) == (("False", "YieldedGPU", "True", None), f"serving: {stopped}")
    assert guest.reason(AVAILABLE) == "YieldedGPU"
    host.run(Stage.TRAIN, Stage.EVALUATE)
    host.run(Stage.VERIFY)
    assert state(guest) == ("True", "Serving", None, None)


def test_a_guest_that_finds_no_room_beside_the_server_names_what_helps(namespace: SharedServer, host: Student) -> None:
    for pod in host.serving_pods:
        pod["spec"]["nodeName"] = "node-1"
    guest = guest_of(namespace, training={**GPU, "seed": 3})
    guest.run(Stage.GENERATE)
    labels = {"app.kubernetes.io/component": "serving", "distillery.dev/name": "host"}
    affinity = guest.job()["spec"]["template"]["spec"]["affinity"]["podAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["labelSelector"] == {"matchLabels": labels}
    guest.find_no_room()
    guest.reconcile()
    assert message(guest) == (
        "train: there is no room beside the served student; lower the resources of the stage, or set serving.replicas"
        " of host to 0 until it ends: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    )
    guest.wait(3601)
    guest.reconcile()
    assert state(guest) == ("False", "Unschedulable", None, "True")

    host.change(serving={**AS_HOST, "replicas": 0})
    namespace.settle()
    host.serve()
    namespace.settle()
    pod = guest.job()["spec"]["template"]["spec"]
    assert "podAffinity" not in pod.get("affinity", {}), "the Job that required the server's node is replaced"
    guest.run(Stage.TRAIN, Stage.EVALUATE)
    host.change(serving=AS_HOST)
    namespace.settle()
    host.serve()
    guest.run(Stage.VERIFY)
    assert state(guest) == ("True", "Serving", None, None)
