"""What the tools that wait for a Distillation read in its status: kstatus, Argo CD and Flux."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import celpy
import yaml
from celpy.adapter import json_to_cel
from lupa import LuaRuntime

FILES = Path(__file__).parents[2] / "helm" / "distillery" / "files"

Resource = Mapping[str, Any]


def argo_health(resource: Resource) -> Any:
    """What the chart's check for Argo CD returns: a table with `status` and `message`."""
    lua = LuaRuntime()
    lua.globals().obj = lua.table_from(resource, recursive=True)
    return lua.execute((FILES / "argocd-health.lua").read_text())


def flux_health(resource: Resource) -> set[str]:
    """Which of the chart's expressions for Flux hold: current, inProgress or failed."""
    activation = {name: json_to_cel(value) for name, value in resource.items()}
    return {name for name, program in _flux_programs().items() if bool(program.evaluate(activation))}


@cache
def _flux_programs() -> dict[str, Any]:
    (check,) = yaml.safe_load((FILES / "flux-health.yaml").read_text())
    environment = celpy.Environment()
    names = ("current", "inProgress", "failed")
    return {name: environment.program(environment.compile(check[name])) for name in names}


def kstatus(resource: Resource) -> str:
    """What kstatus computes for a resource of a kind that it does not know: Current, InProgress or Failed
    (sigs.k8s.io/cli-utils, pkg/kstatus/status/generic.go)."""
    status = resource.get("status", {})
    if status.get("observedGeneration") != resource["metadata"]["generation"]:
        return "InProgress"
    conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    return "InProgress" if conditions.get("Ready") in ("False", "Unknown") else "Current"
