"""The health checks that the chart ships for Argo CD and Flux say what the status says."""

import pytest

from gitops_health import argo_health, flux_health


def distillation(*conditions, observed=2):
    listed = [{"type": kind, "status": status, "message": f"{kind} says so"} for kind, status in conditions]
    return {"metadata": {"generation": 2}, "status": {"observedGeneration": observed, "conditions": listed}}


STATES = {
    "Healthy": distillation(("Ready", "True"), ("Available", "True")),
    "Progressing": distillation(("Ready", "Unknown"), ("Reconciling", "True"), ("Available", "True")),
    "Degraded": distillation(("Ready", "False"), ("Stalled", "True")),
    "Suspended": distillation(("Ready", "False"), ("Suspended", "True")),
}


@pytest.mark.parametrize("state", STATES)
def test_argo_cd_sees_the_state(state):
    assert argo_health(STATES[state])["status"] == state


def test_argo_cd_waits_for_a_change_to_be_seen():
    assert argo_health(distillation(("Ready", "True"), observed=1))["status"] == "Progressing"


def test_argo_cd_waits_for_a_new_resource():
    assert argo_health({"metadata": {"generation": 1}})["status"] == "Progressing"


def test_argo_cd_shows_the_message():
    assert argo_health(STATES["Degraded"])["message"] == "Stalled says so"


@pytest.mark.parametrize(
    ("state", "health"),
    [("Healthy", {"current"}), ("Progressing", {"inProgress"}), ("Degraded", {"failed"}), ("Suspended", {"current"})],
)
def test_flux_sees_the_state(state, health):
    assert flux_health(STATES[state]) == health


def test_flux_waits_for_a_change_to_be_seen():
    assert flux_health(distillation(("Ready", "True"), observed=1)) == {"inProgress"}
