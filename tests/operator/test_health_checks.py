"""The health checks that the chart ships for Argo CD and Flux say what the status says."""

from pathlib import Path

import celpy
import pytest
import yaml
from celpy.adapter import json_to_cel
from lupa import LuaRuntime

FILES = Path(__file__).parents[2] / "helm" / "distillery" / "files"


def distillation(*conditions, observed=2):
    listed = [{"type": kind, "status": status, "message": f"{kind} says so"} for kind, status in conditions]
    return {"metadata": {"generation": 2}, "status": {"observedGeneration": observed, "conditions": listed}}


STATES = {
    "Healthy": distillation(("Ready", "True"), ("Available", "True")),
    "Progressing": distillation(("Ready", "Unknown"), ("Reconciling", "True"), ("Available", "True")),
    "Degraded": distillation(("Ready", "False"), ("Stalled", "True")),
    "Suspended": distillation(("Ready", "False"), ("Suspended", "True")),
}


def argo_health(resource):
    lua = LuaRuntime()
    lua.globals().obj = lua.table_from(resource, recursive=True)
    return lua.execute((FILES / "argocd-health.lua").read_text())


def flux_health(resource):
    (check,) = yaml.safe_load((FILES / "flux-health.yaml").read_text())
    activation = {name: json_to_cel(value) for name, value in resource.items()}
    return {name for name in ("current", "inProgress", "failed") if evaluate(check[name], activation)}


def evaluate(expression, activation):
    environment = celpy.Environment()
    return bool(environment.program(environment.compile(expression)).evaluate(activation))


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
