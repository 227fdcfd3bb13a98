"""Kueue's objects about Jobs in a queue. A cluster without Kueue does not serve them, and a role may lack
the right to read them."""

from __future__ import annotations

from distillery_operator.cluster.client import Cluster
from distillery_operator.core.observation import Workloads
from distillery_operator.core.observe_queue import workload_selector
from distillery_operator.errors import Forbidden, NotFound

_NO_KUEUE = "no Kueue answers: the cluster does not serve workloads of kueue.x-k8s.io/v1beta2"
_NO_RIGHT = (
    "the operator may not read why, nor stop it there; give its role list and patch of workloads in kueue.x-k8s.io"
)


async def read_workloads(cluster: Cluster, namespace: str, job_uids: tuple[str, ...]) -> Workloads:
    """The Workloads of Jobs with these UIDs; without any, no request."""
    if not job_uids:
        return Workloads()
    selector = workload_selector(job_uids)
    try:
        pages = [page async for page in cluster.pages("Workload", namespace, selector)]
        return Workloads(tuple(item for page in pages for item in page.objects))
    except NotFound:
        return Workloads(unreadable=_NO_KUEUE)
    except Forbidden as error:
        return Workloads(unreadable=f"{_NO_RIGHT}: {error}", forbidden=True)
