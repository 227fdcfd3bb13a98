"""Kueue as its users see it, for the simulated cluster: it makes a Workload for each Job in a queue, and starts and
stops the Job by `suspend`, with the conditions and messages of Kueue 0.19."""

from __future__ import annotations

from typing import Any

from simulated_cluster import SimulatedCluster, ended, written

NO_QUOTA = "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor default, 1 more needed"
PREEMPTED = "Preempted to accommodate a workload (UID: 7, JobUID: 8) due to prioritization in the ClusterQueue"
TAINT = {"key": "reserved", "operator": "Exists"}

Raw = dict[str, Any]


class SimulatedKueue:
    """Kueue in one simulated cluster. `pass_by` does what its controllers do; the other methods decide for them."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        cluster.kueue = True

    def pass_by(self) -> None:
        """Workloads follow their Jobs, and Jobs their Workloads."""
        for (kind, name), job in list(self._cluster.objects.items()):
            if kind == "Job" and "kueue.x-k8s.io/queue-name" in job["metadata"]["labels"] and not ended(job):
                self._follow(job, f"job-{name}-0a1b2")
        jobs = {job["metadata"]["uid"] for (kind, _), job in self._cluster.objects.items() if kind == "Job"}
        for key in [key for key in self._cluster.objects if key[0] == "Workload"]:
            if self._cluster.objects[key]["metadata"]["labels"]["kueue.x-k8s.io/job-uid"] not in jobs:
                del self._cluster.objects[key]

    def admit(self) -> None:
        """There is quota for the Job in the queue."""
        self._set("QuotaReserved", "True", "QuotaReserved", "Quota reserved in ClusterQueue team")
        self._set("Admitted", "True", "Admitted", "The workload is admitted")
        self.pass_by()

    def preempt(self, message: str = PREEMPTED) -> None:
        """Another Workload gets the quota."""
        self._set("Evicted", "True", "Preempted", message)
        self._wait(message)
        self.pass_by()

    def deactivate(self, reason: str, message: str) -> None:
        """Kueue, or somebody, makes the Workload inactive."""
        self.workload["spec"]["active"] = False
        self._set("Evicted", "True", reason, message)
        self._wait(message)
        self.pass_by()

    @property
    def workload(self) -> Raw:
        """The Workload of the Job that has not ended."""
        uid = self._cluster.job()["metadata"]["uid"]
        of_kind = (each for (kind, _), each in self._cluster.objects.items() if kind == "Workload")
        return next(each for each in of_kind if each["metadata"]["labels"]["kueue.x-k8s.io/job-uid"] == uid)

    def _follow(self, job: Raw, name: str) -> None:
        workload = self._cluster.objects.setdefault(("Workload", name), self._new(job, name))
        admitted = _truth(workload, "Admitted")
        if not workload["spec"]["active"] and admitted:
            self.deactivate("Deactivated", "The workload is deactivated")
            return
        job["spec"]["suspend"] = not admitted
        template = job["spec"]["template"]
        template["spec"].pop("tolerations", None)
        if admitted:
            template["spec"]["tolerations"] = [TAINT]

    def _new(self, job: Raw, name: str) -> Raw:
        waiting = {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": NO_QUOTA}
        return {
            "kind": "Workload",
            "metadata": {"name": name, "labels": {"kueue.x-k8s.io/job-uid": job["metadata"]["uid"]}},
            "spec": {"active": True},
            "status": {"conditions": [waiting]},
        }

    def _wait(self, message: str) -> None:
        self._set("QuotaReserved", "False", "Pending", message)
        self._set("Admitted", "False", "NoReservation", "The workload has no reservation")

    def _set(self, kind: str, status: str, reason: str, message: str) -> None:
        workload = self.workload
        others = [each for each in workload["status"]["conditions"] if each["type"] != kind]
        time = written(self._cluster.now)
        condition = {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": time}
        workload["status"]["conditions"] = [*others, condition]


def _truth(workload: Raw, kind: str) -> bool:
    return any(each["type"] == kind and each["status"] == "True" for each in workload["status"]["conditions"])
