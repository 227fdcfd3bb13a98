"""publication.hub: the student goes to a model hub after the gate, and is served afterwards."""

from __future__ import annotations

from typing import Any

from distillery_api.evaluation import Evaluation, Score
from distillery_api.reasons import Reason
from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from simulated_cluster import RUN_STAGES, SimulatedCluster

READY, PUBLISHED = ConditionType.READY, ConditionType.PUBLISHED
HUB = {"hub": {"repository": "team/student", "credentials": {"secretName": "hub"}}}
IMAGE = {"runtime": "Transformers", "modelImage": {"repository": "registry.example/team/student"}}


def environment_of(job: dict[str, Any]) -> list[Any]:
    """The Secrets whose keys the stage has as variables."""
    container = job["spec"]["template"]["spec"]["containers"][0]
    return [each["secretRef"]["name"] for each in container.get("envFrom", [])]


def test_the_student_is_on_the_hub_before_it_is_served_from_the_workspace() -> None:
    cluster = SimulatedCluster(publication=HUB)
    cluster.run_stages(*RUN_STAGES)
    assert (cluster.reason(), cluster.truth(PUBLISHED), cluster.status.progress) == (
        "Publishing",
        "False",
        "4/5 publish",
    )
    assert ("Deployment", "conjnli") not in cluster.objects
    assert environment_of(cluster.job()) == ["hub"]
    cluster.run_stages(Stage.PUBLISH, Stage.VERIFY)
    revision = cluster.record(Stage.PUBLISH).hub_revision
    assert revision is not None
    assert revision.startswith("hf://team/student@")
    assert (cluster.truth(READY), cluster.truth(PUBLISHED)) == ("True", "True")
    assert (cluster.status.history[0].hub_revision, cluster.status.history[0].model_image) == (revision, None)
    volumes = cluster.objects["Deployment", "conjnli"]["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["name"] == "workspace"
    assert cluster.decisions() == ()


def test_a_student_that_nobody_serves_is_ready_once_it_is_on_the_hub() -> None:
    cluster = SimulatedCluster(publication=HUB, serving={"mode": "None"})
    cluster.run_stages(*RUN_STAGES)
    assert (cluster.reason(), cluster.truth(READY)) == ("Publishing", "False")
    cluster.run_stages(Stage.PUBLISH)
    assert (cluster.truth(READY), cluster.truth(PUBLISHED)) == ("True", "True")


def test_a_student_that_fails_the_gate_goes_to_no_hub() -> None:
    cluster = SimulatedCluster(publication=HUB, evaluation={"gate": {"minScore": 0.8}})
    cluster.run_stages(Stage.GENERATE, Stage.TRAIN)
    cluster.start()
    cluster.finish(evaluation=Evaluation(sample_size=150, student=Score(score=0.5), teacher=Score(score=0.9)))
    cluster.settle()
    assert cluster.reason() == "QualityGateFailed"
    assert not [name for name in cluster.created if "publish" in name]


def test_who_names_a_hub_later_has_the_student_pushed_and_its_server_left_alone() -> None:
    cluster = SimulatedCluster()
    cluster.run_stages(*Stage)
    before, jobs = cluster.objects["Deployment", "conjnli"]["spec"], set(cluster.jobs())
    cluster.change(publication=HUB)
    cluster.run_stages(Stage.PUBLISH)
    assert (cluster.truth(READY), cluster.truth(PUBLISHED)) == ("True", "True")
    assert cluster.objects["Deployment", "conjnli"]["spec"] == before
    assert [name.split("-")[1] for name in set(cluster.jobs()) - jobs] == ["publish"]
    assert cluster.status.history[0].hub_revision is not None


def test_a_student_goes_to_a_registry_and_to_a_hub_by_one_stage() -> None:
    cluster = SimulatedCluster(publication=HUB, serving=IMAGE)
    cluster.run_stages(*Stage)
    record = cluster.record(Stage.PUBLISH)
    assert cluster.truth(READY) == "True"
    assert (record.model_image or "").startswith("registry.example/team/student@sha256:")
    assert (record.hub_revision or "").startswith("hf://team/student@")


def test_who_names_no_hub_any_more_keeps_what_the_history_says() -> None:
    cluster = SimulatedCluster(publication=HUB)
    cluster.run_stages(*Stage)
    revision = cluster.status.history[0].hub_revision
    cluster.change(publication={})
    cluster.settle()
    assert (cluster.truth(READY), cluster.truth(PUBLISHED)) == ("True", None)
    assert (cluster.status.history[0].hub_revision, cluster.decisions()) == (revision, ())


def test_a_hub_that_refuses_stalls_and_the_student_before_serves_on() -> None:
    cluster = SimulatedCluster(publication=HUB)
    cluster.run_stages(*Stage)
    before = cluster.objects["Deployment", "conjnli"]["spec"]
    cluster.change(training={"seed": 7})
    cluster.run_stages(Stage.TRAIN, Stage.EVALUATE)
    cluster.start()
    cluster.fail(2, Reason.PUBLISH_FAILED, "publication.hub: team/student: the Hub does not know the token")
    cluster.settle()
    assert (cluster.reason(), cluster.truth(ConditionType.STALLED), cluster.truth(ConditionType.AVAILABLE)) == (
        "PublishFailed",
        "True",
        "True",
    )
    assert cluster.objects["Deployment", "conjnli"]["spec"] == before


def test_the_pod_of_publish_alone_has_the_key_that_signs() -> None:
    cluster = SimulatedCluster(publication={"signingKey": {"secretName": "signing"}})
    key = {"name": "DISTILLERY_SIGNING_KEY", "valueFrom": {"secretKeyRef": {"name": "signing", "key": "private-key"}}}
    for stage in (*RUN_STAGES, Stage.PUBLISH, Stage.VERIFY):
        cluster.settle()
        if stage is Stage.VERIFY:
            cluster.serve()
            cluster.settle()
        container = cluster.job()["spec"]["template"]["spec"]["containers"][0]
        assert (key in container["env"]) is (stage is Stage.PUBLISH)
        cluster.start()
        cluster.finish()
    cluster.settle()
    assert cluster.truth(READY) == "True"
