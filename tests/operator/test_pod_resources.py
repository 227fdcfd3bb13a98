"""What a Pod requests and may use, whatever part of it the user says, and on which nodes it runs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distillery_api.stage import Stage
from distillery_operator.manifests.cluster_plan import cluster_plan, planned_server
from distillery_operator.manifests.job import stage_job
from distillery_operator.manifests.pod_template import VolumeUse
from distillery_operator.manifests.quantities import amount
from distillery_operator.manifests.serving import serving_deployment
from distillery_operator.manifests.settings import ManifestSettings
from simulated_cluster import distillation, spec

SETTINGS = ManifestSettings("trainer:1", "vllm:1", "vllm-cpu:1")
GPU = {"nvidia.com/gpu": 1}
TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists"}
LINUX = {"kubernetes.io/os": "linux"}

Raw = dict[str, Any]


def pod_of(component: str, settings: ManifestSettings = SETTINGS, **options: Raw) -> Raw:
    """The Pod of a stage, or of the server, for the options of the stages and of the server."""
    plan = cluster_plan(distillation(spec(**options)), settings)
    if component == "serving":
        manifest = serving_deployment(plan, settings, planned_server(plan, settings), VolumeUse(shared=True))
    else:
        manifest = stage_job(plan, plan.stage(Stage(component)), 1, settings, VolumeUse(shared=True))
    found: Raw = manifest["spec"]["template"]["spec"]
    return found


def resources_of(pod: Raw) -> Raw:
    found: Raw = next(each for each in pod["containers"] if each["name"] == "stage")["resources"]
    return found


def in_template(resources: Raw, **fields: Any) -> Raw:
    return {"podTemplate": {"spec": {"containers": [{"name": "stage", "resources": resources}], **fields}}}


def teacher(**fields: Any) -> Raw:
    return {**spec()["generation"], **fields}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "32Gi"}}),
        ({}, {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "32Gi"}}),
        ({"limits": GPU}, {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "32Gi", **GPU}}),
        ({"requests": GPU}, {"requests": {"cpu": "500m", "memory": "1Gi", **GPU}, "limits": {"memory": "32Gi"}}),
        ({"limits": {"cpu": "250m"}}, {"requests": {"memory": "1Gi"}, "limits": {"memory": "32Gi", "cpu": "250m"}}),
        ({"limits": {"memory": "64Mi"}}, {"requests": {"cpu": "500m"}, "limits": {"memory": "64Mi"}}),
        ({"requests": {"memory": "64Gi"}}, {"requests": {"cpu": "500m", "memory": "64Gi"}}),
        ({"requests": {"cpu": 0}}, {"requests": {"memory": "1Gi", "cpu": 0}, "limits": {"memory": "32Gi"}}),
        ({"limits": {"cpu": 4, "memory": "16Gi", **GPU}}, {"limits": {"cpu": 4, "memory": "16Gi", **GPU}}),
    ],
)
def test_a_resource_that_the_user_says_nothing_about_keeps_its_default(given: Raw | None, expected: Raw) -> None:
    training = {} if given is None else {"resources": given}
    assert resources_of(pod_of("train", training=training)) == expected


def test_a_server_on_a_gpu_keeps_its_default_requests() -> None:
    pod = pod_of("serving", serving={"runtime": "VLLM", "resources": {"limits": GPU}})
    assert resources_of(pod) == {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": GPU}


def test_a_claim_of_a_device_keeps_the_default_requests() -> None:
    claims = {"claims": [{"name": "mig"}]}
    pod = pod_of("serving", serving={"runtime": "VLLM", **in_template(claims, resourceClaims=[{"name": "mig"}])})
    assert resources_of(pod) == {"requests": {"cpu": "250m", "memory": "1Gi"}, **claims}


AMOUNTS = st.dictionaries(
    st.sampled_from(["cpu", "memory", "nvidia.com/gpu", "nvidia.com/mig-1g.5gb", "ephemeral-storage"]),
    st.sampled_from([0, 1, "10m", "1Gi", "40Gi", "1E"]),
)
GIVEN = st.fixed_dictionaries({}, optional={"limits": AMOUNTS})


@given(
    resources=GIVEN,
    template=GIVEN,
    component=st.sampled_from(["generate", "train", "evaluate", "serving"]),
    runtime=st.sampled_from(["VLLM", "Transformers"]),
)
def test_no_request_of_ours_exceeds_a_limit_of_the_users_and_no_pod_is_best_effort(
    resources: Raw, template: Raw, component: str, runtime: str
) -> None:
    options = {"resources": resources, **in_template(template)}
    field = {"generate": "generation", "train": "training", "evaluate": "evaluation", "serving": "serving"}[component]
    fields = teacher(**options) if field == "generation" else options
    found = resources_of(pod_of(component, **{field: fields | ({"runtime": runtime} if field == "serving" else {})}))
    requests, limits = found.get("requests", {}), found.get("limits", {})
    users = {**resources.get("limits", {}), **template.get("limits", {})}
    assert {name: limits[name] for name in users} == users
    assert all((amount(requests[name]) or 0) <= (amount(limits[name]) or 0) for name in requests if name in limits)
    assert {"cpu", "memory"} <= {*requests, *limits}


# --- evaluate, where the student was trained


def test_evaluate_runs_on_the_device_and_the_nodes_of_the_training() -> None:
    training = {
        "resources": {"limits": {**GPU, "memory": "48Gi"}},
        "podTemplate": {
            "metadata": {"labels": {"team": "a"}},
            "spec": {
                "nodeSelector": {"pool": "gpu"},
                "tolerations": [TOLERATION],
                "runtimeClassName": "nvidia",
                "priorityClassName": "low",
            },
        },
    }
    pod = pod_of("evaluate", training=training)
    assert resources_of(pod) == {"requests": {"cpu": "500m"}, "limits": {**GPU, "memory": "48Gi"}}
    assert pod["nodeSelector"] == {**LINUX, "pool": "gpu"}
    assert (pod["tolerations"], pod["runtimeClassName"]) == ([TOLERATION], "nvidia")
    assert "priorityClassName" not in pod


def test_evaluate_gets_the_device_claim_of_the_training() -> None:
    claim = {"name": "mig", "resourceClaimTemplateName": "slice"}
    training = in_template({"claims": [{"name": "mig"}]}, resourceClaims=[claim])
    evaluation = {"podTemplate": {"spec": {"containers": [{"name": "stage", "env": [{"name": "A", "value": "b"}]}]}}}
    pod = pod_of("evaluate", training=training, evaluation=evaluation)
    assert (pod["resourceClaims"], resources_of(pod)["claims"]) == ([claim], [{"name": "mig"}])
    assert {"name": "A", "value": "b"} in pod["containers"][0]["env"]


@pytest.mark.parametrize(
    "evaluation",
    [
        {"resources": {"requests": {"cpu": 2}}},
        {"resources": {}},
        in_template({"requests": {"cpu": 2}}),
    ],
)
def test_evaluate_with_resources_of_its_own_takes_nothing_from_the_training(evaluation: Raw) -> None:
    training = {"resources": {"limits": GPU}, "podTemplate": {"spec": {"nodeSelector": {"pool": "gpu"}}}}
    pod = pod_of("evaluate", training=training, evaluation=evaluation)
    assert "nvidia.com/gpu" not in resources_of(pod)["limits"]
    assert pod["nodeSelector"] == LINUX


def test_evaluates_own_node_constraint_replaces_the_one_of_the_training() -> None:
    spec = {"nodeSelector": {"pool": "gpu", "zone": "a"}, "tolerations": [TOLERATION]}
    training = {"resources": {"limits": GPU}, "podTemplate": {"spec": spec}}
    pod = pod_of("evaluate", training=training, evaluation={"podTemplate": {"spec": {"nodeSelector": {"pool": "l4"}}}})
    assert pod["nodeSelector"] == {**LINUX, "pool": "l4"}
    assert pod["tolerations"] == [TOLERATION]


def test_verify_takes_neither_the_device_nor_the_nodes_of_the_training() -> None:
    training = {"resources": {"limits": GPU}, "podTemplate": {"spec": {"nodeSelector": {"pool": "gpu"}}}}
    pod = pod_of("verify", training=training)
    assert "nvidia.com/gpu" not in resources_of(pod)["limits"]
    assert pod["nodeSelector"] == LINUX


# --- nodes


@pytest.mark.parametrize("component", ["generate", "train", "evaluate", "verify", "serving"])
def test_pods_run_on_linux_and_where_the_installation_says(component: str) -> None:
    settings = ManifestSettings("trainer:1", "v:1", "v:1", stage_node_selector={"kubernetes.io/arch": "amd64"})
    assert pod_of(component)["nodeSelector"] == LINUX
    assert pod_of(component, settings)["nodeSelector"] == {**LINUX, "kubernetes.io/arch": "amd64"}


def test_a_users_node_selector_comes_first_key_by_key() -> None:
    settings = ManifestSettings("trainer:1", "v:1", "v:1", stage_node_selector={"kubernetes.io/arch": "amd64"})
    template = {"spec": {"nodeSelector": {"kubernetes.io/arch": "arm64", "pool": "gpu"}}}
    selector = pod_of("train", settings, training={"podTemplate": template})["nodeSelector"]
    assert selector == {**LINUX, "kubernetes.io/arch": "arm64", "pool": "gpu"}
