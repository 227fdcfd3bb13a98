"""When the kubelet lets requests reach a server, and when it starts it again.

All probes ask `/health`, which a server answers while its model is busy, and answers with 503 once its model is dead.
"""

from __future__ import annotations

from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.manifests.settings import ManifestSettings

_PERIOD_SECONDS = 5
_TIMEOUT_SECONDS = 10
"""A server on a node that lacks processor time answers late: taken out of the Service, it would refuse requests which
otherwise only wait."""
_HUNG_PERIOD_SECONDS = 10
_HUNG_FAILURES = 12
"""Two minutes without an answer: a busy server answers late, a hung one never."""
_HUNG_GRACE_SECONDS = 10
"""A server that does not even answer its probe finishes no request, either."""


def server_probes(settings: ManifestSettings) -> Manifest:
    """The probes of a server's container. Readiness and liveness begin once the start-up probe has succeeded."""
    # A start may take as long as a rollout may.
    starts = settings.progress_deadline_seconds // _PERIOD_SECONDS
    return {
        "startupProbe": _probe(_PERIOD_SECONDS, _TIMEOUT_SECONDS, starts),
        "readinessProbe": _probe(_PERIOD_SECONDS, _TIMEOUT_SECONDS, failures=3),
        "livenessProbe": {
            **_probe(_HUNG_PERIOD_SECONDS, _HUNG_PERIOD_SECONDS, _HUNG_FAILURES),
            "terminationGracePeriodSeconds": _HUNG_GRACE_SECONDS,
        },
    }


def _probe(period: int, timeout: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": "/health", "port": "http"},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }
