"""Every manifest, as a file that a person can read.

After a wanted change, `DISTILLERY_WRITE_GOLDEN=1 pytest tests/operator/test_manifests.py` writes the files anew; the
difference is then what to review.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from distillery_api.stage import Stage, stages_until
from distillery_operator.manifests.cluster_plan import cluster_plan
from distillery_operator.manifests.job import configuration_digest, stage_config_map, stage_job, stage_pod
from distillery_operator.manifests.pod_template import VolumeUse
from distillery_operator.manifests.route import serving_route
from distillery_operator.manifests.server import ServedModel, Server
from distillery_operator.manifests.serving import (
    adapters_config_map,
    rendered_server,
    serving_deployment,
    serving_pod,
    serving_service,
)
from distillery_operator.manifests.settings import CertificateAuthorities, ManifestSettings
from distillery_operator.manifests.shared_server import guests_config_map, guests_server
from distillery_operator.manifests.storage import workspace_claim
from distillery_operator.manifests.training_nodes import training_service
from distillery_operator.planning.plan import Plan, PlannedStage, make_plan
from simulated_cluster import distillation, spec

GOLDEN = Path(__file__).parents[1] / "data" / "output" / "manifests"
SETTINGS = ManifestSettings("distillery-trainer:1", "vllm-openai:1", "vllm-openai-cpu:1")
LINUX = {"kubernetes.io/os": "linux"}
ONE_NODE, MANY_NODES = VolumeUse(shared=False), VolumeUse(shared=True)
TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
ON_GPUS = {
    "resources": {"limits": {"nvidia.com/gpu": 1}},
    "podTemplate": {"spec": {"nodeSelector": {"pool": "gpu"}, "tolerations": [TOLERATION]}},
}

FROM_IMAGE = {"modelImage": {"repository": "registry.example/team/student", "credentials": {"secretName": "push"}}}

Raw = dict[str, Any]


def plan_of(**changes: Any) -> Plan:
    return cluster_plan(distillation(spec(**changes)), SETTINGS)


def served(plan: Plan, precision: str | None = None, settings: ManifestSettings = SETTINGS) -> Server:
    return rendered_server(plan, settings, ServedModel.planned(plan, plan.stage(Stage.TRAIN).input_hash, precision))


def job(plan: Plan, stage: Stage, volume: VolumeUse = ONE_NODE, settings: ManifestSettings = SETTINGS) -> Raw:
    return stage_job(plan, plan.stage(stage), 1, settings, volume)


def pod_spec(manifest: Raw) -> Raw:
    found: Raw = manifest["spec"]["template"]["spec"]
    return found


def container(manifest: Raw, name: str = "stage") -> Raw:
    return next(each for each in pod_spec(manifest)["containers"] if each["name"] == name)


def generation(**fields: Any) -> Raw:
    return {**spec()["generation"], **fields}


def generate() -> list[Raw]:
    """With a key, rows from a ConfigMap, and a template that brings a native sidecar."""
    key = {"secretName": "teacher", "key": "api-key"}
    teacher = {**spec()["generation"]["teachers"][0], "apiKey": key}
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    proxy = {"name": "proxy", "image": "proxy:1", "restartPolicy": "Always", "securityContext": security}
    template = {
        "metadata": {"labels": {"team": "a"}, "annotations": {"example.com/egress": "teacher"}},
        "spec": {"initContainers": [proxy], "serviceAccountName": "egress"},
    }
    sources = {"train": {"uri": "pvc://rows/train.jsonl"}, "validation": {"uri": "configmap://few/validation.jsonl"}}
    plan = plan_of(generation=generation(teachers=[teacher], podTemplate=template), data=sources)
    return [stage_config_map(plan, plan.stage(Stage.GENERATE)), job(plan, Stage.GENERATE)]


def train() -> list[Raw]:
    """On a GPU, from a model on another claim, with credentials."""
    student = {"model": {"uri": "pvc://models/small"}, "credentials": {"secretName": "hub"}}
    plan = plan_of(training=ON_GPUS, student=student)
    return [job(plan, Stage.TRAIN)]


def train_on_several_nodes() -> list[Raw]:
    """Four GPUs on each of two nodes, which find each other by a Service."""
    plan = plan_of(training={"gpusPerNode": 4, "nodes": 2}, storage={"accessModes": ["ReadWriteMany"]})
    return [training_service(plan), job(plan, Stage.TRAIN, MANY_NODES)]


def evaluate() -> list[Raw]:
    """On the one node that has the volume: where the training may run, and where the old student is served."""
    return [job(plan_of(training=ON_GPUS), Stage.EVALUATE, VolumeUse(shared=False, beside_server=True))]


def verify() -> list[Raw]:
    """Without a GPU, in evaluate's image, near the server."""
    evaluation = {"image": "other:1", "resources": {"limits": {"nvidia.com/gpu": 1}}}
    plan = plan_of(evaluation=evaluation, student={"model": {"uri": "pvc://models/small"}})
    # Its hash is that of the server's Pod template, which this file is not about.
    plan = replace(plan, stages=(*plan.stages[:3], PlannedStage(Stage.VERIFY, "abcdefgh")))
    return [stage_config_map(plan, plan.stages[3]), job(plan, Stage.VERIFY, MANY_NODES)]


def serving_with_transformers() -> list[Raw]:
    plan = plan_of()
    return [serving_deployment(plan, SETTINGS, served(plan), ONE_NODE), serving_service(plan)]


def serving_with_vllm() -> list[Raw]:
    plan = plan_of(
        serving={"runtime": "VLLM", "replicas": 3, "resources": {"limits": {"nvidia.com/gpu": 1}}},
        storage={"accessModes": ["ReadWriteMany"]},
    )
    return [serving_deployment(plan, SETTINGS, served(plan), MANY_NODES)]


def serving_with_vllm_on_a_cpu() -> list[Raw]:
    """After an evaluation in float32, with limits and a longer grace period."""
    serving = {
        "resources": {"limits": {"cpu": "1500m", "memory": "8Gi"}},
        "podTemplate": {"spec": {"terminationGracePeriodSeconds": 120}},
    }
    plan = plan_of(serving=serving)
    return [serving_deployment(plan, SETTINGS, served(plan, "float32"), ONE_NODE)]


def route(**fields: Any) -> list[Raw]:
    hostnames = ["student.example.com", "*.students.example.com"]
    serving = {"apiKey": {"secretName": "clients"}, "route": {"hostnames": hostnames, **fields}}
    metadata = {"labels": {"team": "nlp"}, "annotations": {"example.com/cost-centre": "42"}}
    made = serving_route(plan_of(childMetadata=metadata, serving=serving))
    return [made] if made else []


def http_route() -> list[Raw]:
    """Of two Gateways."""
    parents = [{"name": "public", "namespace": "gateways", "sectionName": "https"}, {"name": "internal", "port": 8443}]
    return route(kind="HTTPRoute", parentRefs=parents, requestTimeout="1d90s")


def ingress() -> list[Raw]:
    """With TLS, and annotations for its controller."""
    fields = {
        "kind": "Ingress",
        "ingressClassName": "nginx",
        "tlsSecretName": "students-tls",
        "annotations": {"nginx.ingress.kubernetes.io/proxy-read-timeout": "300"},
    }
    return route(**fields)


def publish() -> list[Raw]:
    """Without a GPU and without the server, with the credentials of the registry as a file."""
    plan = plan_of(serving=FROM_IMAGE)
    return [stage_config_map(plan, plan.stage(Stage.PUBLISH)), job(plan, Stage.PUBLISH)]


def serving_from_an_image() -> list[Raw]:
    """On a volume that only one node can mount, with the student prompt in the template."""
    plan = plan_of(serving={**FROM_IMAGE, "runtime": "VLLM", "replicas": 3, "bakePrompt": True})
    image = f"registry.example/team/student@sha256:{'0' * 64}"
    model = ServedModel.planned(plan, plan.stage(Stage.TRAIN).input_hash, "bfloat16", image)
    return [serving_deployment(plan, SETTINGS, rendered_server(plan, SETTINGS, model), ONE_NODE)]


def serving_an_adapter() -> list[Raw]:
    """Under two names, of a rank between two that vLLM knows."""
    plan = plan_of(
        serving={"adapter": "LoRA", "modelNames": ["gpt-4o"], "resources": {"limits": {"nvidia.com/gpu": 1}}},
        training={"lora": {"rank": 12}},
    )
    server = served(plan, "bfloat16")
    assert server.model.adapter is not None
    return [serving_deployment(plan, SETTINGS, server, ONE_NODE), adapters_config_map(plan, server.model.adapter)]


def serving_on_a_shared_server() -> list[Raw]:
    """A ConfigMap and a Service, and verify beside the host's Pods, where the training may run."""
    plan = plan_of(
        serving={"adapter": "LoRA", "sharedServer": "host", "modelNames": ["gpt-4o"], "apiKey": {"secretName": "s"}},
        storage={"claimName": "models"},
        training=ON_GPUS,
    )
    model = ServedModel.planned(plan, plan.stage(Stage.TRAIN).input_hash, "bfloat16")
    server = guests_server(plan, served(plan_of(serving={"adapter": "LoRA"})), model)
    plan = replace(plan, stages=(*plan.stages[:3], PlannedStage(Stage.VERIFY, "abcdefgh")))
    beside = VolumeUse(shared=False, beside_server=True)
    config_map = guests_config_map(plan, server, None)
    # Compressed, which depends on the machine.
    del config_map["metadata"]["annotations"]["distillery.dev/server"]
    return [config_map, serving_service(plan), job(plan, Stage.VERIFY, beside)]


def workspace() -> list[Raw]:
    """Kept when the Distillation goes, and not."""
    described = {"size": "5Gi", "storageClassName": "fast", "accessModes": ["ReadWriteMany"], "retention": "Delete"}
    return [workspace_claim(plan_of()), workspace_claim(plan_of(storage=described))]


def check() -> list[Raw]:
    """Pods for the dry run, on a cluster that chooses the users."""
    plan, unset = (
        plan_of(),
        ManifestSettings("distillery-trainer:1", "vllm-openai:1", "vllm-openai-cpu:1", run_as_user=None, fs_group=None),
    )
    return [stage_pod(plan, plan.stage(Stage.GENERATE), unset), serving_pod(plan, served(plan, settings=unset))]


def readable(manifest: Raw) -> Raw:
    """The manifest with its RunConfig as YAML rather than as one long string."""
    if manifest["kind"] != "ConfigMap":
        return manifest
    return manifest | {"data": {name: json.loads(text) for name, text in manifest["data"].items()}}


@pytest.mark.parametrize(
    "case",
    [
        generate,
        train,
        train_on_several_nodes,
        evaluate,
        verify,
        serving_with_transformers,
        serving_with_vllm,
        serving_with_vllm_on_a_cpu,
        serving_an_adapter,
        serving_on_a_shared_server,
        http_route,
        ingress,
        publish,
        serving_from_an_image,
        workspace,
        check,
    ],
)
def test_manifests_are_as_the_file_says(case: Any) -> None:
    path = GOLDEN / f"{case.__name__}.yaml"
    text = yaml.safe_dump_all(map(readable, case()), sort_keys=False, width=120)
    if os.environ.get("DISTILLERY_WRITE_GOLDEN"):
        path.write_text(text)
    assert path.read_text() == text


def test_a_manifest_shares_no_part_with_another() -> None:
    # YAML would write a shared part as an anchor, and a change of one would change the other.
    assert "&id" not in "".join(path.read_text() for path in GOLDEN.iterdir())


def test_a_disruption_is_ignored_before_exit_code_2_fails_the_job() -> None:
    rules = job(plan_of(), Stage.TRAIN)["spec"]["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["Ignore", "FailJob"]
    assert rules[1]["onExitCodes"] == {"containerName": "stage", "operator": "In", "values": [2]}


def test_no_manifest_holds_a_key() -> None:
    plan = plan_of(
        generation=generation(teachers=[{**spec()["generation"]["teachers"][0], "apiKey": {"secretName": "s"}}])
    )
    config = json.loads(stage_config_map(plan, plan.stage(Stage.GENERATE))["data"]["run.json"])
    assert config["apiKeyVariables"] == {"s/api-key": "DISTILLERY_API_KEY_0"}
    variable = container(job(plan, Stage.GENERATE))["env"][-1]
    assert variable == {
        "name": "DISTILLERY_API_KEY_0",
        "valueFrom": {"secretKeyRef": {"name": "s", "key": "api-key"}},
    }
    assert "DISTILLERY_API_KEY_0" not in json.dumps(job(plan, Stage.TRAIN))


def test_credentials_reach_the_stages_that_check_or_load_the_model() -> None:
    student = {"model": {"uri": "hf://org/small"}, "credentials": {"secretName": "hub"}}
    plan = plan_of(student=student, serving=FROM_IMAGE)
    given = [container(job(plan, stage)).get("envFrom") for stage in Stage]
    checked = [{"prefix": "DISTILLERY_STUDENT_", "secretRef": {"name": "hub"}}]
    assert given == [checked, [{"secretRef": {"name": "hub"}}], [{"secretRef": {"name": "hub"}}], None, None]


def test_settings_of_the_trackers_reach_every_stage_that_reports() -> None:
    plan = plan_of(tracking={"reportTo": ["MLflow"], "credentials": {"secretName": "mlflow"}}, serving=FROM_IMAGE)
    given = [container(job(plan, stage)).get("envFrom") for stage in Stage]
    secret = [{"prefix": "DISTILLERY_TRACKING_", "secretRef": {"name": "mlflow"}}]
    assert given == [secret, secret, secret, None, secret]


def test_claim_of_the_student_is_mounted_where_it_is_checked_and_loaded() -> None:
    plan = plan_of(student={"model": {"uri": "pvc://models/small"}}, serving=FROM_IMAGE)
    mounted = [
        any(mount["mountPath"] == "/data/pvc/models" for mount in container(job(plan, stage))["volumeMounts"])
        for stage in Stage
    ]
    assert mounted == [True, True, True, False, False]


def test_one_node_volume_takes_trainings_constraints_to_every_stage_of_a_run_and_many_nodes_to_none() -> None:
    plan = plan_of(training=ON_GPUS)
    for stage in stages_until(None):
        assert pod_spec(job(plan, stage))["nodeSelector"] == {**LINUX, "pool": "gpu"}
        assert pod_spec(job(plan, stage))["tolerations"] == [TOLERATION]
    assert pod_spec(job(plan, Stage.GENERATE, MANY_NODES))["nodeSelector"] == LINUX


BESIDE_SERVER = VolumeUse(shared=False, beside_server=True)
SERVERS_NODE = {
    "labelSelector": {"matchLabels": {"distillery.dev/name": "conjnli", "app.kubernetes.io/component": "serving"}},
    "topologyKey": "kubernetes.io/hostname",
}
REQUIRED = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [SERVERS_NODE]}}
PREFERRED = {
    "podAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": SERVERS_NODE}]
    }
}
SPOT = {"key": "spot", "operator": "Exists"}


def on_nodes(**fields: Any) -> Raw:
    return {"podTemplate": {"spec": fields}}


@pytest.mark.parametrize(
    ("serving", "constraints"),
    [
        ({}, {}),
        (
            on_nodes(nodeSelector={"pool": "cpu"}, tolerations=[SPOT]),
            {"nodeSelector": {"pool": "cpu"}, "tolerations": [SPOT]},
        ),
        (
            {"resources": {"limits": {"nvidia.com/gpu": 1}}, **on_nodes(tolerations=[TOLERATION])},
            {"tolerations": [TOLERATION]},
        ),
    ],
)
@pytest.mark.parametrize(("volume", "affinity"), [(BESIDE_SERVER, REQUIRED), (MANY_NODES, PREFERRED)])
def test_verify_runs_where_the_server_may_and_not_where_training_or_evaluation_must(
    serving: Raw, constraints: Raw, volume: VolumeUse, affinity: Raw
) -> None:
    device = {"name": "stage", "resources": {"limits": {"nvidia.com/gpu": 1}}, "env": [{"name": "A", "value": "b"}]}
    evaluation = on_nodes(
        nodeSelector={"pool": "gpu"},
        tolerations=[TOLERATION],
        runtimeClassName="nvidia",
        priorityClassName="low",
        containers=[device, {"name": "proxy", "resources": {"limits": {"cpu": 1}}}],
    )
    manifest = job(plan_of(training=ON_GPUS, evaluation=evaluation, serving=serving), Stage.VERIFY, volume)
    pod = pod_spec(manifest)
    about_nodes = ("nodeSelector", "tolerations", "affinity", "runtimeClassName")
    expected = {**constraints, "affinity": affinity, "nodeSelector": {**LINUX, **constraints.get("nodeSelector", {})}}
    assert {key: pod[key] for key in about_nodes if key in pod} == expected
    assert container(manifest)["resources"] == {
        "requests": {"cpu": "100m", "memory": "256Mi"},
        "limits": {"memory": "2Gi"},
    }
    assert container(manifest, "proxy")["resources"] == {"limits": {"cpu": 1}}
    assert pod["priorityClassName"] == "low"
    assert {"name": "A", "value": "b"} in container(manifest)["env"]


def test_servers_that_keep_away_from_each_other_do_not_keep_verify_away() -> None:
    zone = {"nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}
    of_nodes = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": zone}}
    apart = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [SERVERS_NODE]}}
    plan = plan_of(serving=on_nodes(affinity={**of_nodes, **apart}))
    assert pod_spec(job(plan, Stage.VERIFY, BESIDE_SERVER))["affinity"] == {**of_nodes, **REQUIRED}


def test_a_stage_beside_a_server_keeps_its_users_own_affinity() -> None:
    mine = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "data"}}}
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [mine]}}
    plan = plan_of(training={"podTemplate": {"spec": {"affinity": affinity}}})
    for stage in (Stage.GENERATE, Stage.TRAIN):
        merged = pod_spec(job(plan, stage, VolumeUse(shared=False, beside_server=True)))["affinity"]
        terms = merged["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert sorted(term["topologyKey"] for term in terms) == ["kubernetes.io/hostname", "zone"]


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"serving": {"runtime": "VLLM"}}, True),
        ({"serving": {"runtime": "Transformers", "image": "other:1"}}, True),
        ({"serving": {"runtime": "Transformers", "resources": {"limits": {"cpu": 1}}}}, True),
        ({"serving": {"runtime": "Transformers", "podTemplate": {"spec": {"priorityClassName": "low"}}}}, True),
        ({"training": {"seed": 7}}, True),
        ({"evaluation": {"judge": {"endpoint": "http://judge/v1", "model": "j"}}, "task": "Conversation"}, True),
        ({"serving": {"runtime": "Transformers", "replicas": 0}}, False),
        ({"evaluation": {"image": "other:1"}}, False),
        ({"storage": {"accessModes": ["ReadWriteMany"]}}, False),
    ],
)
def test_a_student_is_verified_again_whenever_its_server_or_evaluation_changes(changes: Raw, differs: bool) -> None:
    hashes = [plan.stage(Stage.VERIFY).input_hash for plan in (plan_of(), plan_of(**changes))]
    assert (hashes[0] != hashes[1]) is differs


def test_a_student_is_verified_again_when_the_installation_serves_it_with_another_image() -> None:
    newer = ManifestSettings("distillery-trainer:2", "vllm-openai:1", "vllm-openai-cpu:1")
    assert cluster_plan(distillation(), newer).stages[3] != cluster_plan(distillation(), SETTINGS).stages[3]


def test_without_a_server_there_is_nothing_to_verify() -> None:
    stages = [planned.stage for planned in plan_of(serving={"mode": "None"}).stages]
    assert stages == [Stage.GENERATE, Stage.TRAIN, Stage.EVALUATE]


def test_servers_replace_each_other_one_by_one_only_where_many_nodes_have_the_volume() -> None:
    plan = plan_of()
    strategies = [
        serving_deployment(plan, SETTINGS, served(plan), use)["spec"]["strategy"] for use in (ONE_NODE, MANY_NODES)
    ]
    assert strategies == [
        {"type": "Recreate"},
        {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
    ]


def test_an_earlier_student_is_served_by_todays_spec() -> None:
    earlier = ServedModel("aaaa", "train-aaaa/model", "generate-aaaa/student-prompt.txt")
    plan = plan_of(serving={"runtime": "VLLM", "replicas": 0})
    deployment = serving_deployment(plan, SETTINGS, rendered_server(plan, SETTINGS, earlier), ONE_NODE)
    assert deployment["metadata"]["labels"]["distillery.dev/hash"] == "aaaa"
    assert deployment["spec"]["replicas"] == 0
    assert container(deployment)["volumeMounts"][0]["subPath"] == "train-aaaa/model"


def test_a_selector_never_changes() -> None:
    first, second = plan_of(), plan_of(training={"seed": 1}, serving={"image": "mine:2"})
    selectors = [serving_deployment(p, SETTINGS, served(p), ONE_NODE)["spec"]["selector"] for p in (first, second)]
    assert selectors[0] == selectors[1]


def test_without_a_cluster_manifests_have_no_owner() -> None:
    plan = make_plan(distillation(uid=""))
    assert "ownerReferences" not in job(plan, Stage.TRAIN)["metadata"]
    assert workspace_claim(plan)["metadata"]["name"] == "conjnli-workspace"


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"generation": generation(budget={"maxTokens": 9})}, True),
        ({"generation": generation(resources={"limits": {"memory": "8Gi"}})}, True),
        ({"generation": generation(image="other:1")}, True),
        ({"generation": generation(podTemplate={"spec": {"priorityClassName": "low"}})}, True),
        ({"serving": {"replicas": 0}}, False),
        ({"evaluation": {"image": "other:1"}}, False),
    ],
)
def test_configuration_is_all_that_an_attempt_is_given(changes: Raw, differs: bool) -> None:
    digests = [configuration_digest(p, p.stage(Stage.GENERATE)) for p in (plan_of(), plan_of(**changes))]
    assert (digests[0] != digests[1]) is differs


def test_stages_get_the_keys_of_their_own_servers_and_judges_and_no_other() -> None:
    def key(name: str) -> Raw:
        return {"apiKey": {"secretName": name}}

    teacher = spec()["generation"]["teachers"][0]
    servers = [{"url": "http://a/v1", **key("east")}, {"url": "http://b/v1", **key("west")}, {"url": "http://c/v1"}]
    teacher = {"name": teacher["name"], "model": teacher["model"], "servers": servers}
    judge = {"endpoint": "http://judge/v1", "model": "judge"}
    plan = plan_of(
        task="Conversation",
        data={**spec()["data"], "credentials": {"secretName": "bucket"}},
        generation=generation(teachers=[teacher], judge={**judge, **key("west")}),
        evaluation={"judge": {**judge, **key("panel")}},
    )

    def environment(stage: Stage) -> tuple[list[tuple[str, str]], list[str]]:
        container = stage_pod(plan, plan.stage(stage), SETTINGS)["spec"]["containers"][0]
        keys = [
            (variable["name"], variable["valueFrom"]["secretKeyRef"]["name"])
            for variable in container["env"]
            if "valueFrom" in variable
        ]
        return keys, [source["secretRef"]["name"] for source in container.get("envFrom", [])]

    assert environment(Stage.GENERATE) == (
        [("DISTILLERY_API_KEY_0", "east"), ("DISTILLERY_API_KEY_1", "west")],
        ["bucket"],
    )
    assert environment(Stage.TRAIN) == ([], [])
    assert environment(Stage.EVALUATE) == ([("DISTILLERY_API_KEY_0", "panel")], [])


def with_memory(kind: str) -> Raw:
    return {"resources": {kind: {"memory": "64Gi"}}}


def with_template(resources: Any) -> Raw:
    return {"podTemplate": {"spec": {"containers": [{"name": "stage", "resources": resources}]}}}


@pytest.mark.parametrize(
    ("training", "limit"),
    [
        ({}, "32Gi"),
        ({"resources": {"limits": {"nvidia.com/gpu": 1}}}, "32Gi"),
        ({"resources": {"requests": {"cpu": 4}}}, "32Gi"),
        (with_memory("limits"), "64Gi"),
        (with_memory("requests"), None),
        (with_template({"requests": {"memory": "64Gi"}}), None),
        (with_template({"limits": {"memory": "64Gi"}}), "64Gi"),
        (with_template({"limits": {"cpu": 4}}), "32Gi"),
        (with_template({"limits": None}), None),
        (with_template("large"), None),
    ],
)
def test_stage_has_a_memory_limit_unless_its_user_says_what_it_needs(training: Raw, limit: str | None) -> None:
    resources = container(job(plan_of(training=training), Stage.TRAIN))["resources"]
    limits = resources.get("limits") if isinstance(resources, dict) else None
    assert (limits or {}).get("memory") == limit


@pytest.mark.parametrize(
    ("training", "requested"),
    [
        ({}, "1Gi"),
        ({"resources": {"limits": {"nvidia.com/gpu": 1}}}, "1Gi"),
        ({"resources": {"requests": {"cpu": 2}}}, "1Gi"),
        (with_memory("requests"), "64Gi"),
        (with_memory("limits"), None),
    ],
)
def test_default_limit_is_no_request(training: Raw, requested: str | None) -> None:
    """Kubernetes takes a limit without a request for both: no node with less memory could run the stage."""
    resources = container(job(plan_of(training=training), Stage.TRAIN))["resources"]
    assert resources.get("requests", {}).get("memory") == requested


@pytest.mark.parametrize("stage", Stage)
def test_volumes_that_are_not_the_workspace_are_bounded(stage: Stage) -> None:
    volumes = pod_spec(job(plan_of(serving=FROM_IMAGE), stage))["volumes"]
    sizes = {volume["name"]: volume["emptyDir"].get("sizeLimit") for volume in volumes if "emptyDir" in volume}
    assert sizes.items() >= {"tmp": "10Gi", "home": "1Gi", "cache": "100Gi"}.items()
    assert sizes.get("shm", "8Gi") == "8Gi"


@pytest.mark.parametrize("stage", Stage)
def test_stages_trust_the_certificate_authorities_of_the_installation(stage: Stage) -> None:
    settings = replace(SETTINGS, certificate_authorities=CertificateAuthorities("trust", "bundle.pem"))
    manifest = job(plan_of(serving=FROM_IMAGE), stage, settings=settings)
    assert {"name": "certificate-authorities", "configMap": {"name": "trust"}} in pod_spec(manifest)["volumes"]
    assert {"name": "SSL_CERT_FILE", "value": "/etc/distillery-authorities/bundle.pem"} in container(manifest)["env"]
    mount = {"name": "certificate-authorities", "mountPath": "/etc/distillery-authorities", "readOnly": True}
    assert mount in container(manifest)["volumeMounts"]
