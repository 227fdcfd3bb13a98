"""From Kueue's objects about Jobs in a queue to what the core decides on."""

from __future__ import annotations

from collections.abc import Iterable

from distillery_operator.core.observation import ObservedWorkload, Queueing, Raw, Workloads
from distillery_operator.core.pod_problems import timestamp
from distillery_operator.planning import names

_ENDED = ("Complete", "Failed")
_OUR_CONTROLLER = "kubernetes.io/job-controller"


def waiting_jobs(jobs: Iterable[Raw], *, suspended: bool) -> tuple[str, ...]:
    """The UIDs of the Jobs whose Workload matters now: in a queue, and not running, or to be stopped since the
    Distillation is suspended."""
    waiting = (job for job in jobs if _queue(job) and not _has_ended(job))
    return tuple(str(job["metadata"]["uid"]) for job in waiting if suspended or job["spec"].get("suspend"))


def workload_selector(job_uids: tuple[str, ...]) -> str:
    """The label selector of the Workloads of these Jobs."""
    return f"{names.JOB_UID_LABEL} in ({','.join(job_uids)})"


def observed_queueing(job: Raw, workloads: Workloads) -> Queueing:
    """Who starts and stops the Job."""
    annotations, spec = job["metadata"].get("annotations") or {}, job["spec"]
    managed_by = spec.get("managedBy")
    return Queueing(
        stopped_by_us=names.SUSPENDED_ANNOTATION in annotations,
        suspended_since=timestamp(_condition(job, "Suspended").get("lastTransitionTime")),
        queue=_queue(job),
        workload=_workload(job, workloads),
        unreadable=workloads.unreadable,
        forbidden=workloads.forbidden,
        other_controller=managed_by if managed_by != _OUR_CONTROLLER else None,
        configuration=annotations.get(names.CONFIGURATION_ANNOTATION),
    )


def _queue(job: Raw) -> str | None:
    found: str | None = (job["metadata"].get("labels") or {}).get(names.QUEUE_LABEL)
    return found


def _has_ended(job: Raw) -> bool:
    return any(_holds(job, kind) for kind in _ENDED)


def _workload(job: Raw, workloads: Workloads) -> ObservedWorkload | None:
    uid = job["metadata"].get("uid")
    own = (each for each in workloads.items if (each["metadata"].get("labels") or {}).get(names.JOB_UID_LABEL) == uid)
    found = next(own, None)
    return _observed_workload(found) if found else None


def _observed_workload(workload: Raw) -> ObservedWorkload:
    active = workload["spec"].get("active", True)
    by_us = names.SUSPENDED_ANNOTATION in (workload["metadata"].get("annotations") or {})
    evicted = _condition(workload, "Evicted")
    by_kueue = not active and not by_us and str(evicted.get("reason", "")).startswith("DeactivatedDueTo")
    return ObservedWorkload(
        name=workload["metadata"]["name"],
        active=active,
        stopped_by_us=by_us,
        changing=_holds(workload, "Admitted"),
        given_up=_holds(workload, "Finished") or by_kueue,
        message=_message(workload, active=active),
    )


def _message(workload: Raw, *, active: bool) -> str:
    """Why Kueue does not start the Job: what ended it, else what keeps it from its quota, else from its start."""
    finished, evicted = _condition(workload, "Finished"), _condition(workload, "Evicted")
    quota, admitted = _condition(workload, "QuotaReserved"), _condition(workload, "Admitted")
    if _holds(workload, "Finished"):
        return str(finished.get("message", ""))
    if not active:
        return f"spec.active is false: {evicted.get('message') or 'somebody has made it inactive'}"
    if not _holds(workload, "QuotaReserved"):
        return str(quota.get("message", ""))
    if _holds(workload, "Evicted"):
        return str(evicted.get("message", ""))
    checks = (check for check in (workload.get("status") or {}).get("admissionChecks") or ())
    pending = [f"{check['name']}: {check.get('message') or check.get('state')}" for check in checks]
    return str(admitted.get("message") or "; ".join(pending))


def _holds(raw: Raw, kind: str) -> bool:
    return _condition(raw, kind).get("status") == "True"


def _condition(raw: Raw, kind: str) -> Raw:
    conditions = (raw.get("status") or {}).get("conditions") or ()
    return next((condition for condition in conditions if condition["type"] == kind), {})
