"""The student is served as it was measured, on what the user gives the server."""

from __future__ import annotations

from typing import Any

import pytest

from distillery_api.spec import Serving
from distillery_api.stage import Stage
from distillery_operator.manifests.cluster_plan import cluster_plan, planned_server
from distillery_operator.manifests.job import stage_pod
from distillery_operator.manifests.model_server import ModelServer, model_server
from distillery_operator.manifests.pod_template import GeneratedContainer, pod_template
from distillery_operator.manifests.serving import serving_pod
from distillery_operator.manifests.settings import ManifestSettings
from distillery_operator.manifests.vllm import vllm_command
from simulated_cluster import distillation, spec

SETTINGS = ManifestSettings("distillery-trainer:1", "vllm-openai:1", "vllm-openai-cpu:1")
GPU = {"nvidia.com/gpu": 1}

Raw = dict[str, Any]


def server(precision: str = "bfloat16", **serving: Any) -> ModelServer:
    return model_server(Serving.model_validate(serving), "student", precision, SETTINGS)


def stage_container(**fields: Any) -> Raw:
    return {"spec": {"containers": [{"name": "stage", **fields}]}}


def value_of(command: tuple[str, ...], flag: str) -> str:
    return command[command.index(flag) + 1]


def test_vllm_serves_greedily_in_the_measured_precision_and_lets_requests_end() -> None:
    assert vllm_command("/models/nli", ("nli",), 8000, precision="bfloat16", drain_seconds=50) == (
        *("vllm", "serve", "/models/nli", "--served-model-name", "nli", "--host", "0.0.0.0", "--port", "8000"),
        *("--dtype=bfloat16", "--override-generation-config", '{"temperature":0}', "--max-model-len", "auto"),
        "--chat-template-content-format=string",
        *("--load-format", "safetensors", "--shutdown-timeout", "50"),
        *("--disable-access-log-for-endpoints", "/health,/metrics", "--disable-fastapi-docs"),
        *("--middleware", "served_paths.ServedPaths", "--middleware", "draining.ClosingConnections"),
    )


@pytest.mark.parametrize(
    ("serving", "image"),
    [
        ({}, "vllm-openai-cpu:1"),
        ({"resources": {"limits": {"cpu": 4, "memory": "8Gi"}}}, "vllm-openai-cpu:1"),
        ({"resources": {"limits": {"nvidia.com/gpu": 0}}}, "vllm-openai-cpu:1"),
        ({"resources": {"limits": GPU}}, "vllm-openai:1"),
        ({"resources": {"requests": {"nvidia.com/mig-1g.10gb": "1"}}}, "vllm-openai:1"),
        ({"resources": {"limits": {"amd.com/gpu": 1}}}, "vllm-openai:1"),
        ({"podTemplate": stage_container(resources={"limits": GPU})}, "vllm-openai:1"),
        ({"podTemplate": stage_container(resources={"claims": [{"name": "gpu"}]})}, "vllm-openai:1"),
        (
            {"podTemplate": {"spec": {"containers": [{"name": "other", "resources": {"limits": GPU}}]}}},
            "vllm-openai-cpu:1",
        ),
        ({"podTemplate": stage_container(resources="none")}, "vllm-openai-cpu:1"),
        ({"image": "mine:1", "resources": {"limits": GPU}}, "mine:1"),
        ({"image": "mine:1"}, "mine:1"),
        ({"runtime": "Transformers"}, "distillery-trainer:1"),
        ({"runtime": "Transformers", "resources": {"limits": GPU}}, "distillery-trainer:1"),
    ],
)
def test_resources_choose_the_image(serving: Raw, image: str) -> None:
    assert server(**serving).image == image


@pytest.mark.parametrize(
    ("serving", "cache"),
    [
        ({}, 1024**3),
        ({"resources": {"limits": {"memory": "8Gi"}}}, 2 * 1024**3),
        ({"resources": {"requests": {"memory": "6Gi"}}}, 1536 * 1024**2),
        ({"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "12G"}}}, 3_000_000_000),
        ({"podTemplate": stage_container(resources={"limits": {"memory": "16Gi"}})}, 4 * 1024**3),
        ({"resources": {"limits": {"memory": "512Mi"}}}, 256 * 1024**2),
    ],
)
def test_cache_of_a_cpu_server_is_a_quarter_of_its_memory(serving: Raw, cache: int) -> None:
    assert value_of(server(**serving).command, "--kv-cache-memory-bytes") == str(cache)


def test_gpu_server_has_no_flag_of_the_cpu() -> None:
    gpu = server(resources={"limits": GPU})
    assert not {"--kv-cache-memory-bytes", "--enforce-eager"} & set(gpu.command)
    assert gpu.environment == {"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "3900"}
    assert gpu.requests == {"cpu": "250m", "memory": "1Gi"}


def test_cpu_server_binds_no_threads_and_requests_what_vllm_needs() -> None:
    assert server().environment["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert server().requests == {"cpu": "1", "memory": "4Gi"}


@pytest.mark.parametrize(
    ("template", "seconds"),
    [
        ({}, "50"),
        ({"spec": {"terminationGracePeriodSeconds": 300}}, "290"),
        ({"spec": {"terminationGracePeriodSeconds": 8}}, "0"),
        ({"spec": {"terminationGracePeriodSeconds": "60s"}}, "50"),
        (stage_container(lifecycle={"preStop": {"sleep": {"seconds": 20}}}), "35"),
        (stage_container(lifecycle={"preStop": {"exec": {"command": ["true"]}}}), "50"),
    ],
)
def test_requests_may_take_the_grace_period_less_the_sleep_and_a_reserve(template: Raw, seconds: str) -> None:
    assert value_of(server(podTemplate=template).command, "--shutdown-timeout") == seconds


@pytest.mark.parametrize("runtime", ["VLLM", "Transformers"])
def test_precision_is_one_argument_whatever_a_status_says(runtime: str) -> None:
    assert "--dtype=--trust-remote-code" in server("--trust-remote-code", runtime=runtime).command


@pytest.mark.parametrize(
    ("serving", "threads"),
    [
        ({}, None),
        ({"resources": {"limits": {"cpu": 2}}}, "2"),
        ({"resources": {"limits": {"cpu": "1500m"}}}, "2"),
        ({"resources": {"limits": {"cpu": "100m"}}}, "1"),
        ({"resources": {"requests": {"cpu": 2}}}, None),
        ({"podTemplate": stage_container(resources={"limits": {"cpu": "3"}})}, "3"),
        ({"podTemplate": stage_container(env=[{"name": "OMP_NUM_THREADS", "value": "7"}])}, "7"),
    ],
)
def test_threads_wait_without_spinning_and_are_as_many_as_the_limit(serving: Raw, threads: str | None) -> None:
    container = GeneratedContainer(("run",), "image:1", (), (), {})
    template = pod_template(container, Serving.model_validate(serving), {}, SETTINGS, {})
    variables = {each["name"]: each.get("value") for each in template["spec"]["containers"][0]["env"]}
    assert variables["OMP_WAIT_POLICY"] == "PASSIVE"
    assert variables.get("OMP_NUM_THREADS") == threads


def test_further_names_follow_the_first_one_once() -> None:
    names = {"modelNames": ["gpt-4o", "student", "org/small", "gpt-4o"]}
    command = server(**names).command
    first = command.index("--served-model-name")
    assert command[first + 1 : first + 5] == ("student", "gpt-4o", "org/small", "--host")
    of_ours = [part for part in server(runtime="Transformers", **names).command if "name" in part]
    assert of_ours == ["--name=student", "--also-named=gpt-4o", "--also-named=org/small"]


@pytest.mark.parametrize(
    ("runtime", "name"), [("VLLM", "VLLM_API_KEY"), ("Transformers", "DISTILLERY_SERVING_API_KEY")]
)
def test_the_key_of_clients_reaches_server_and_verify_from_its_secret(runtime: str, name: str) -> None:
    key = {"secretName": "clients", "key": "token"}
    plan = cluster_plan(distillation(spec(serving={"runtime": runtime, "apiKey": key})), SETTINGS)
    verify = stage_pod(plan, plan.stage(Stage.VERIFY), SETTINGS)
    found = [
        [each for each in pod["spec"]["containers"][0]["env"] if "valueFrom" in each]
        for pod in (serving_pod(plan, planned_server(plan, SETTINGS)), verify)
    ]
    secret = {"secretKeyRef": {"name": "clients", "key": "token"}}
    assert found == [
        [{"name": name, "valueFrom": secret}],
        [{"name": "DISTILLERY_SERVING_API_KEY", "valueFrom": secret}],
    ]


def test_a_baked_prompt_is_mounted_alone_and_written_into_a_template_before_vllm_starts() -> None:
    plan = cluster_plan(distillation(spec(serving={"runtime": "VLLM", "bakePrompt": True})), SETTINGS)
    pod = serving_pod(plan, planned_server(plan, SETTINGS))
    [container] = pod["spec"]["containers"]
    generate, train = plan.stage(Stage.GENERATE).folder, plan.stage(Stage.TRAIN).folder
    of_workspace = [
        (each["mountPath"], each["subPath"]) for each in container["volumeMounts"] if each["name"] == "workspace"
    ]
    assert of_workspace == [
        ("/models/conjnli", f"{train}/model"),
        ("/student-prompt.txt", f"{generate}/student-prompt.txt"),
    ]
    program = ["python3", "-m", "baked_prompt", "/models/conjnli", "/student-prompt.txt", "/tmp/chat_template.jinja"]
    assert container["command"][:9] == [*program, "vllm", "serve", "/models/conjnli"]
    assert container["command"][-2:] == ["--chat-template", "/tmp/chat_template.jinja"]
    assert "def baked_template(" in pod["metadata"]["annotations"]["distillery.dev/module-baked_prompt"]


def test_a_baked_prompt_is_an_option_of_the_other_server() -> None:
    assert server(runtime="Transformers", bakePrompt=True).command[-1] == "--student-prompt=/student-prompt.txt"


def test_arguments_of_the_user_come_last() -> None:
    command = server(runtimeArgs=["--max-num-seqs", "8", "--max-model-len=1k"], bakePrompt=True).command
    assert command[-5:] == ("--chat-template", "/tmp/chat_template.jinja", "--max-num-seqs", "8", "--max-model-len=1k")
