"""What is said where Kueue's objects cannot be read."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from kubernetes.aio.client.api_client import ApiClient

from distillery_operator.cluster.client import Cluster, Page
from distillery_operator.cluster.kueue import read_workloads
from distillery_operator.errors import ClusterError, Forbidden, NotFound


class Refusing(Cluster):
    """It answers every list with an error."""

    def __init__(self, error: ClusterError) -> None:
        super().__init__(ApiClient())
        self.error = error

    async def pages(self, kind: str, namespace: str | None, selector: str | None = None) -> AsyncIterator[Page]:
        raise self.error
        yield


@pytest.mark.parametrize(
    ("error", "forbidden", "sentence"),
    [
        (NotFound("404"), False, "no Kueue answers: the cluster does not serve workloads of kueue.x-k8s.io/v1beta2"),
        (
            Forbidden("workloads is forbidden"),
            True,
            "the operator may not read why, nor stop it there; give its role list and patch of workloads in"
            " kueue.x-k8s.io: workloads is forbidden",
        ),
    ],
)
async def test_a_reason_that_cannot_be_read_is_a_sentence(error: ClusterError, forbidden: bool, sentence: str) -> None:
    found = await read_workloads(Refusing(error), "team-a", ("uid",))
    assert (found.items, found.forbidden, found.unreadable) == ((), forbidden, sentence)
