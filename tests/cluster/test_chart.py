"""The chart as the API server judges it, and a Pod of every generated template under the restricted level."""

import json
from pathlib import Path

import pytest
import yaml

from cluster import CommandFailed
from distillery_api.resource import Distillation
from distillery_api.result import Stage
from distillery_operator.manifests.common import ManifestSettings
from distillery_operator.manifests.job import stage_pod
from distillery_operator.manifests.serving import ServedModel, serving_pod
from distillery_operator.plan import make_plan
from manifest_cases import minimal_manifest

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "distillery"
SETTINGS = ManifestSettings(trainer_image="distillery-trainer:test", vllm_image="vllm:test")


@pytest.fixture(scope="module")
def render(control_plane):
    def rendered(*sets, namespace="default"):
        flags = [flag for value in sets for flag in ("--set", value)]
        text = control_plane.helm("template", "distillery", str(CHART), "--namespace", namespace, *flags)
        return [document for document in yaml.safe_load_all(text) if document]

    return rendered


def test_chart_passes_lint(control_plane):
    assert "0 chart(s) failed" in control_plane.helm("lint", "--strict", str(CHART))


@pytest.mark.parametrize(
    "sets",
    [
        (),
        ("networkPolicy.enabled=true", "podDisruptionBudget.enabled=true", "replicas=2"),
        (
            "watchNamespaces={default}",
            "networkPolicy.enabled=true",
            "stageSecurity.runAsUser=",
            "stageSecurity.fsGroup=",
        ),
        ("serviceAccount.create=false", "crd.install=false", "userRoles.create=false", "healthChecks.enabled=false"),
    ],
    ids=["defaults", "everything on", "one namespace", "little"],
)
def test_server_accepts_every_rendered_object(control_plane, render, sets):
    documents = render(*sets)
    said = control_plane.apply(documents, None, "--dry-run=server", "--validate=strict")
    assert said.count("(server dry run)") == len(documents)


def test_namespaced_installation_has_no_cluster_wide_rights(render):
    kinds = {document["kind"] for document in render("watchNamespaces={default}", "userRoles.create=false")}
    assert "ClusterRole" not in kinds
    assert "ClusterRoleBinding" not in kinds


def test_rendered_crd_is_the_generated_one_and_is_kept(render):
    (crd,) = (document for document in render() if document["kind"] == "CustomResourceDefinition")
    assert crd["metadata"]["annotations"].pop("helm.sh/resource-policy") == "keep"
    assert crd == yaml.safe_load((ROOT / "crds" / "distillations.yaml").read_text())


@pytest.mark.parametrize(
    "wrong",
    ["replicas=-1", "image.pullPolicy=Sometimes", "retry.deadline=1 hour", "replcas=2", "watchNamespaces={Bad_}"],
)
def test_wrong_values_are_refused(render, wrong):
    with pytest.raises(CommandFailed, match="values don't meet the specifications of the schema"):
        render(wrong)


def test_operator_pod_meets_the_restricted_level(control_plane, render, namespace):
    (deployment,) = (document for document in render(namespace=namespace) if document["kind"] == "Deployment")
    template = deployment["spec"]["template"]
    template["spec"].pop("serviceAccountName")
    dry_run_pod(control_plane, namespace, template)


@pytest.mark.parametrize("stage", list(Stage))
def test_stage_pod_meets_the_restricted_level(control_plane, namespace, stage):
    plan = planned(namespace)
    dry_run_pod(control_plane, namespace, stage_pod(plan, plan.stage(stage), SETTINGS))


@pytest.mark.parametrize("runtime", ["VLLM", "Transformers"])
def test_serving_pod_meets_the_restricted_level(control_plane, namespace, runtime):
    plan = planned(namespace, serving={"runtime": runtime})
    model = ServedModel.planned(plan, plan.stage(Stage.TRAIN).input_hash)
    dry_run_pod(control_plane, namespace, serving_pod(plan, SETTINGS, model))


def planned(namespace, **spec):
    manifest = minimal_manifest()
    manifest["metadata"] |= {"namespace": namespace, "uid": "0d7b0f9e-6c3f-4b5e-9d5a-111111111111", "generation": 1}
    manifest["spec"] |= spec
    return make_plan(Distillation.model_validate(manifest))


def dry_run_pod(control_plane, namespace, template):
    """The server takes the Pod strictly, and warns about nothing."""
    metadata = {key: value for key, value in template["metadata"].items() if key in ("labels", "annotations")}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", **metadata}, "spec": template["spec"]}
    control_plane.kubectl(
        "create",
        "-n",
        namespace,
        "--dry-run=server",
        "--validate=strict",
        "--warnings-as-errors",
        "-f",
        "-",
        stdin=json.dumps(pod),
    )
