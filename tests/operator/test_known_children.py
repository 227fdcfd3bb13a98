"""An object that has the name of a new one takes its place among the children, whoever's it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from kubernetes.aio.client.api_client import ApiClient

from distillery_api.stage import Stage
from distillery_operator.cluster.client import Cluster, Page
from distillery_operator.controller.known_children import KnownChildren, with_child
from distillery_operator.core.observation import Children, JobState
from distillery_operator.core.observe import observe
from simulated_cluster import UID, SimulatedCluster


def named(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}, **fields}


@pytest.mark.parametrize(("kind", "field"), [("Job", "jobs"), ("ConfigMap", "config_maps")])
def test_one_of_several_is_replaced_by_its_name(kind: str, field: str) -> None:
    before = Children(**{field: (named(kind, "a"), named(kind, "b"))})
    theirs = named(kind, "a", data={"x": "y"})
    assert getattr(with_child(before, theirs, "conjnli"), field) == (named(kind, "b"), theirs)


class LatePods(Cluster):
    """Its cache knows that a Job has ended, and not yet that its Pod has; a list of the Pods does."""

    def __init__(self, job: dict[str, Any], pod: dict[str, Any]) -> None:
        super().__init__(ApiClient())
        self.cache.put("Job", job)
        self.cache.put("Pod", without_its_end(pod))
        self.pod, self.lists = pod, 0

    async def get(self, kind: str, namespace: str, name: str) -> None:
        return None

    async def pages(self, kind: str, namespace: str | None, selector: str | None = None) -> AsyncIterator[Page]:
        self.lists += 1
        yield Page([self.pod], "9")


def without_its_end(pod: dict[str, Any]) -> dict[str, Any]:
    running = {"phase": "Running", "containerStatuses": [{"name": "stage", "state": {"running": {}}}]}
    return {**pod, "metadata": {**pod["metadata"], "resourceVersion": "3"}, "status": running}


def stored(manifest: dict[str, Any], version: str) -> dict[str, Any]:
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": "team-a", "resourceVersion": version}}


def ended_training() -> tuple[SimulatedCluster, LatePods]:
    simulated = SimulatedCluster()
    simulated.run_stages(Stage.GENERATE)
    simulated.start()
    job, pod = simulated.job(), simulated.pod()
    simulated.finish()
    labelled = {**pod, "metadata": {**pod["metadata"], "labels": job["metadata"]["labels"]}}
    return simulated, LatePods(stored(job, "5"), stored(labelled, "7"))


async def test_the_pod_of_an_ended_job_is_read_before_the_job_counts_as_failed() -> None:
    simulated, cluster = ended_training()
    children = KnownChildren(cluster, lambda _: None)
    found = await children.collect(simulated.plan, simulated.status)
    (job,) = observe(found, owner_uid=UID, now=simulated.now).jobs
    assert (job.state, cluster.lists) == (JobState.DONE, 1)


async def test_once_the_pods_end_is_known_nothing_is_read() -> None:
    simulated, cluster = ended_training()
    children = KnownChildren(cluster, lambda _: None)
    for _ in range(3):
        await children.collect(simulated.plan, simulated.status)
    assert cluster.lists == 1
