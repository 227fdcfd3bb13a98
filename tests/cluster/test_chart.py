"""The chart as the API server judges it, and a Pod of every generated template under the restricted level."""

import json
import re
import shutil
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from cluster import CommandFailed
from distillery_api.resource import Distillation
from distillery_api.run_config import METRICS_PORT
from distillery_api.stage import Stage
from distillery_operator.controller.settings import OperatorSettings, read_settings
from distillery_operator.core.retry_policy import RetrySettings
from distillery_operator.manifests.cluster_plan import cluster_plan, planned_server
from distillery_operator.manifests.job import stage_pod
from distillery_operator.manifests.serving import serving_pod
from distillery_operator.manifests.settings import CertificateAuthorities, ManifestSettings
from manifest_cases import minimal_manifest
from waiting import wait_until

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "distillery"
FROM_IMAGE = {"modelImage": {"repository": "registry.example/student", "credentials": {"secretName": "push"}}}
SETTINGS = ManifestSettings(
    trainer_image="distillery-trainer:test", vllm_image="vllm:test", vllm_cpu_image="vllm-cpu:test"
)


@pytest.fixture(scope="module")
def render(control_plane):
    def rendered(*sets, namespace="default"):
        flags = [flag for value in sets for flag in ("--set", value)]
        text = control_plane.helm("template", "distillery", str(CHART), "--namespace", namespace, *flags)
        return [document for document in yaml.safe_load_all(text) if document]

    return rendered


@pytest.fixture(scope="module")
def user_roles(control_plane, render):
    """The roles that the chart adds to Kubernetes' own."""
    roles = [document for document in render() if is_user_role(document)]
    control_plane.apply(roles)
    yield
    for role in roles:
        control_plane.kubectl("delete", "clusterrole", role["metadata"]["name"])


@pytest.fixture
def release(control_plane):
    """Installs and upgrades the chart without a running operator, in a namespace of its own."""
    namespace = f"release-{uuid.uuid4().hex[:8]}"
    small = ("replicas=0", "crd.install=false", "userRoles.create=false", f"watchNamespaces={{{namespace}}}")
    control_plane.kubectl("create", "namespace", namespace)

    def helm(command, *sets):
        flags = [flag for value in (*small, *sets) for flag in ("--set", value)]
        control_plane.helm(command, "distillery", str(CHART), "--namespace", namespace, *flags)
        return namespace

    yield helm
    control_plane.kubectl("delete", "namespace", namespace, "--wait=false")


def test_chart_passes_lint(control_plane):
    assert "0 chart(s) failed" in control_plane.helm("lint", "--strict", str(CHART))


@pytest.mark.parametrize(
    "sets",
    [
        (),
        (
            "networkPolicy.enabled=true",
            "networkPolicy.namespaces={default,kube-system}",
            "podDisruptionBudget.enabled=true",
            "replicas=2",
        ),
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
    crd = one(render(), "CustomResourceDefinition")
    assert crd["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert crd == yaml.safe_load((ROOT / "crds" / "distillations.yaml").read_text())


def test_crd_of_the_chart_is_the_generated_one():
    generated = (ROOT / "crds" / "distillations.yaml").read_text()
    assert (CHART / "files" / "distillations.yaml").read_text() == generated, "run `make manifests`"


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ("replicas=-1", "/replicas"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("image.repository=", "/image/repository"),
        ("retry.deadline=1 hour", "/retry/deadline"),
        ("replcas=2", "replcas"),
        ("trainer.image.registry=x", "registry"),
        ("vllm.image.digest=sha256:abc", "/vllm/image/digest"),
        ("certificateAuthorities.key=a/b", "/certificateAuthorities/key"),
        ("watchNamespaces={Bad_}", "/watchNamespaces/0"),
        ("stageSecurity.runAsUser=0", "/stageSecurity/runAsUser"),
        ("workers=100", "/workers"),
        ("logging.format=xml", "/logging/format"),
    ],
)
def test_wrong_values_are_refused_by_name(render, wrong, where):
    with pytest.raises(CommandFailed, match="values don't meet the specifications of the schema") as refusal:
        render(wrong)
    assert where in str(refusal.value)


def test_chart_that_depends_on_this_one_may_switch_it_on_and_off(control_plane, tmp_path):
    umbrella = tmp_path / "umbrella"
    shutil.copytree(CHART, umbrella / "charts" / "distillery")
    dependency = {"name": "distillery", "version": "0.1.0", "condition": "distillery.enabled", "tags": ["models"]}
    chart = {"apiVersion": "v2", "name": "umbrella", "version": "1.0.0", "dependencies": [dependency]}
    (umbrella / "Chart.yaml").write_text(yaml.safe_dump(chart))

    def rendered(enabled):
        values = ("--set", f"distillery.enabled={enabled}", "--set", "global.region=eu", "--set", "tags.models=true")
        text = control_plane.helm("template", "team", str(umbrella), *values)
        return [document["kind"] for document in yaml.safe_load_all(text) if document]

    assert "Deployment" in rendered("true")
    assert rendered("false") == []


def test_policies_without_a_namespace_are_refused(render):
    with pytest.raises(CommandFailed, match=r"networkPolicy\.namespaces: list the namespaces"):
        render("networkPolicy.enabled=true")


def test_server_accepts_the_policies_of_the_security_page(control_plane):
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "security.md").read_text(encoding="utf-8"), re.DOTALL)
    documents = [document for block in blocks for document in yaml.safe_load_all(block)]
    assert [document["kind"] for document in documents] == ["ValidatingAdmissionPolicy", *["NetworkPolicy"] * 2]
    said = control_plane.apply(documents, None, "--dry-run=server", "--validate=strict")
    assert said.count("(server dry run)") == 3


def test_operator_reads_its_settings_from_the_charts_defaults(render):
    assert settings_of(render()) == OperatorSettings(
        trainer_image="distillery-trainer:0.1.0",
        vllm_image="vllm/vllm-openai:v0.32.0",
        vllm_cpu_image="vllm/vllm-openai-cpu:v0.32.0",
        operator_namespace="the Pod's metadata.namespace",
        identity="the Pod's metadata.name",
    )


def test_operator_reads_its_settings_from_changed_values(render):
    settings = settings_of(
        render(
            "trainer.image.repository=registry.example/trainer",
            "trainer.image.tag=v7",
            f"vllm.image.digest=sha256:{'0' * 64}",
            "certificateAuthorities.configMap=trust",
            "stagePullPolicy=Always",
            "stageSecurity.runAsUser=",
            "stageSecurity.fsGroup=2000",
            "retry.firstDelay=1s",
            "retry.longestDelay=2m",
            "retry.deadline=3h",
            "retry.blockedDeadline=90s",
            "retry.unschedulableDeadline=4h",
            "rolloutDeadline=2h",
            "stageGracePeriod=5m",
            "workers=8",
            "watchNamespaces={team-a,team-b}",
            "logging.level=DEBUG",
            "logging.format=text",
        )
    )
    assert settings.core.manifests == ManifestSettings(
        trainer_image="registry.example/trainer:v7",
        vllm_image=f"vllm/vllm-openai@sha256:{'0' * 64}",
        certificate_authorities=CertificateAuthorities("trust", "ca.crt"),
        vllm_cpu_image="vllm/vllm-openai-cpu:v0.32.0",
        image_pull_policy="Always",
        run_as_user=None,
        fs_group=2000,
        progress_deadline_seconds=7200,
        stage_grace_seconds=300,
    )
    assert settings.core.retry == RetrySettings(
        first_delay=timedelta(seconds=1),
        longest_delay=timedelta(minutes=2),
        deadline=timedelta(hours=3),
        blocked_deadline=timedelta(seconds=90),
        unschedulable_deadline=timedelta(hours=4),
    )
    assert (settings.namespaces, settings.workers) == (("team-a", "team-b"), 8)
    assert (settings.log_level, settings.log_format) == ("DEBUG", "text")


def test_operator_is_probed_and_scraped_where_it_listens(render):
    (container,) = one(render(), "Deployment")["spec"]["template"]["spec"]["containers"]
    settings = settings_of(render())
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"metrics": settings.metrics_port, "health": settings.health_port}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "health"}
    # A node that is short of processor time gets no restarts on top.
    patience = {name: container["livenessProbe"][name] for name in ("periodSeconds", "timeoutSeconds")}
    assert (patience, container["livenessProbe"]["failureThreshold"]) == (
        {"periodSeconds": 20, "timeoutSeconds": 20},
        6,
    )
    (endpoint,) = one(render("podMonitor.enabled=true"), "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert endpoint == {"port": "metrics", "interval": "30s"}


def test_two_replicas_prefer_two_nodes_and_give_way_one_by_one(render):
    documents = render("replicas=2", "podDisruptionBudget.enabled=true")
    pod = one(documents, "Deployment")["spec"]["template"]
    (spread,) = pod["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    budget = one(documents, "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    for selector in (spread["labelSelector"], budget["selector"]):
        assert selector["matchLabels"].items() <= pod["metadata"]["labels"].items()


def test_policy_lets_the_operator_alone_reach_the_metrics_of_stages(render):
    documents = render("networkPolicy.enabled=true", "watchNamespaces={team-a}", namespace="system")
    policy = one(documents, "NetworkPolicy", "distillery-progress")
    assert policy["metadata"]["namespace"] == "team-a"
    plan = planned("team-a", serving=FROM_IMAGE)
    for stage in Stage:
        pod = stage_pod(plan, plan.stage(stage), SETTINGS)
        assert selects(policy["spec"]["podSelector"], pod)
    assert not selects(policy["spec"]["podSelector"], served_pod(plan))
    (rule,) = policy["spec"]["ingress"]
    (peer,) = rule["from"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "system"}
    assert selects(peer["podSelector"], one(documents, "Deployment")["spec"]["template"])
    assert rule["ports"] == [{"port": METRICS_PORT, "protocol": "TCP"}]


def test_policy_lets_the_pods_of_a_training_on_several_nodes_reach_each_other_alone(render):
    documents = render("networkPolicy.enabled=true", "watchNamespaces={team-a}", namespace="system")
    policy = one(documents, "NetworkPolicy", "distillery-training")
    (rule,) = policy["spec"]["ingress"]
    (peer,) = rule["from"]
    plan = planned("team-a", serving=FROM_IMAGE)
    pods = {stage: stage_pod(plan, plan.stage(stage), SETTINGS) for stage in Stage}
    chosen = [stage for stage, pod in pods.items() if selects(policy["spec"]["podSelector"], pod)]
    assert (policy["metadata"]["namespace"], chosen) == ("team-a", [Stage.TRAIN])
    assert (peer, "ports" in rule) == ({"podSelector": policy["spec"]["podSelector"]}, False)


def test_operator_never_reads_a_secret_and_never_deletes_a_claim(render):
    rules = one(render(), "ClusterRole", "distillery")["rules"]
    rights = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    assert not {resource for resource, _ in rights} & {"secrets", "*", "namespaces", "customresourcedefinitions"}
    assert "*" not in {verb for _, verb in rights}
    verbs = {verb for resource, verb in rights if resource == "persistentvolumeclaims"}
    assert verbs == {"get", "list", "watch", "create", "patch"}
    assert {verb for resource, verb in rights if resource == "pods"} == {"list", "watch", "create"}


@pytest.mark.parametrize(
    ("role", "verb", "resource", "allowed"),
    [
        ("view", "get", "distillations", True),
        ("view", "create", "distillations", False),
        ("edit", "create", "distillations", True),
        ("edit", "patch", "distillations/scale", True),
        ("edit", "patch", "distillations/status", False),
        ("admin", "delete", "distillations", True),
    ],
)
def test_kubernetes_own_roles_cover_distillations(control_plane, namespace, user_roles, role, verb, resource, allowed):
    control_plane.kubectl("-n", namespace, "create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}")

    def answer():
        review = json.dumps(access_review(role, namespace, verb, resource))
        said = json.loads(control_plane.kubectl("create", "-o", "json", "-f", "-", stdin=review))
        return said["status"]["allowed"] is allowed

    assert wait_until(answer, 20, f"{role} to be told {allowed} about {verb} {resource}")


def test_upgrade_leaves_the_held_lease_alone(control_plane, release):
    namespace = release("install")
    held = {"holderIdentity": "distillery-1", "leaseDurationSeconds": 15, "leaseTransitions": 3}
    lease = control_plane.get("lease", "distillery", namespace)
    control_plane.kubectl("replace", "-f", "-", stdin=json.dumps(lease | {"spec": held}))

    release("upgrade", "workers=8")

    assert control_plane.get("lease", "distillery", namespace)["spec"] == held
    environment = control_plane.get("deployment", "distillery", namespace)["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "DISTILLERY_WORKERS", "value": "8"} in environment["env"]


def test_operator_pod_meets_the_restricted_level(control_plane, render, namespace):
    template = one(render(namespace=namespace), "Deployment")["spec"]["template"]
    template["spec"].pop("serviceAccountName")
    dry_run_pod(control_plane, namespace, template)


@pytest.mark.parametrize("stage", list(Stage))
def test_stage_pod_meets_the_restricted_level(control_plane, namespace, stage):
    plan = planned(namespace, serving=FROM_IMAGE)
    dry_run_pod(control_plane, namespace, stage_pod(plan, plan.stage(stage), SETTINGS))


@pytest.mark.parametrize(
    "serving", [{}, {"runtime": "Transformers"}, FROM_IMAGE], ids=["VLLM", "Transformers", "image"]
)
def test_serving_pod_meets_the_restricted_level(control_plane, namespace, serving):
    plan = planned(namespace, serving=serving)
    dry_run_pod(control_plane, namespace, served_pod(plan))


def served_pod(plan):
    return serving_pod(plan, planned_server(plan, SETTINGS))


def planned(namespace, **spec):
    manifest = minimal_manifest()
    manifest["metadata"] |= {"namespace": namespace, "uid": "0d7b0f9e-6c3f-4b5e-9d5a-111111111111", "generation": 1}
    manifest["spec"] |= spec
    return cluster_plan(Distillation.model_validate(manifest), SETTINGS)


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


def one(documents, kind, name=None):
    """The only object of a kind, or the one of that name."""
    (found,) = (each for each in documents if each["kind"] == kind and name in (None, each["metadata"]["name"]))
    return found


def settings_of(documents):
    """What the operator makes of its container's environment."""
    (container,) = one(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    return read_settings({variable["name"]: value_of(variable) for variable in container["env"]})


def value_of(variable):
    if "value" in variable:
        return variable["value"] or ""
    return f"the Pod's {variable['valueFrom']['fieldRef']['fieldPath']}"


def selects(selector, pod):
    labels = pod["metadata"]["labels"]
    expressions = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(expression["key"]) in expression["values"] for expression in expressions
    )


def access_review(user, namespace, verb, resource):
    name, _, subresource = resource.partition("/")
    access = {"group": "distillery.dev", "resource": name, "subresource": subresource, "verb": verb}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": access | {"namespace": namespace}},
    }


def is_user_role(document):
    labels = document["metadata"].get("labels", {})
    return any(label.startswith("rbac.authorization.k8s.io/aggregate-to-") for label in labels)
