"""Settings from the environment: defaults, durations, and a sentence for each wrong variable."""

from __future__ import annotations

from datetime import timedelta

import pytest

from distillery_operator.controller.settings import read_settings
from distillery_operator.errors import SettingsError

IMAGES = {
    "DISTILLERY_TRAINER_IMAGE": "trainer:1",
    "DISTILLERY_VLLM_IMAGE": "vllm:1",
    "DISTILLERY_VLLM_CPU_IMAGE": "vllm-cpu:1",
}


def settings_error(**variables: str) -> str:
    """The error for these variables."""
    with pytest.raises(SettingsError) as problem:
        read_settings({**IMAGES, **variables})
    return str(problem.value)


def test_the_two_images_are_all_that_must_be_set() -> None:
    settings = read_settings(IMAGES)

    assert settings.namespaces == ()
    assert (settings.workers, settings.resync, settings.progress_interval) == (16, 600, 30)
    assert settings.core.manifests.trainer_image == "trainer:1"
    assert settings.core.manifests.run_as_user == 10001
    assert settings.core.retry.deadline == timedelta(hours=1)


def test_missing_images_are_named_each_on_a_line() -> None:
    with pytest.raises(SettingsError) as problem:
        read_settings({})
    assert (
        str(problem.value)
        == "DISTILLERY_TRAINER_IMAGE is not set\nDISTILLERY_VLLM_IMAGE is not set\nDISTILLERY_VLLM_CPU_IMAGE is not set"
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("10m", 600), ("1h30m", 5400), ("250ms", 0.25), ("1.5h", 5400)]
)
def test_durations_are_written_as_kubernetes_writes_them(text: str, seconds: float) -> None:
    assert read_settings({**IMAGES, "DISTILLERY_RESYNC": text}).resync == seconds


@pytest.mark.parametrize("text", ["10", "ten minutes", "5 m", "", "10m!", "-5s"])
def test_other_durations_are_refused_with_an_example(text: str) -> None:
    message = settings_error(DISTILLERY_RESYNC=text)
    assert message == f"DISTILLERY_RESYNC='{text}' is not a duration; write 30s, 10m or 1h30m, for example"


def test_a_duration_of_nothing_is_refused() -> None:
    assert settings_error(DISTILLERY_RESYNC="0s") == "DISTILLERY_RESYNC='0s' is invalid: input should be greater than 0"


def test_namespaces_are_separated_by_commas() -> None:
    settings = read_settings({**IMAGES, "DISTILLERY_NAMESPACES": "team-a, team-b,"})
    assert settings.namespaces == ("team-a", "team-b")


def test_what_cannot_be_a_namespace_is_named() -> None:
    message = settings_error(DISTILLERY_NAMESPACES="team-a,Team_B")
    assert message == "DISTILLERY_NAMESPACES='team-a,Team_B' contains Team_B, which is not a valid namespace name"


def test_an_empty_user_leaves_the_choice_to_the_cluster() -> None:
    manifests = read_settings({**IMAGES, "DISTILLERY_RUN_AS_USER": "", "DISTILLERY_FS_GROUP": ""}).core.manifests
    assert (manifests.run_as_user, manifests.fs_group) == (None, None)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("DISTILLERY_WORKERS", "many", "unable to parse string as an integer"),
        ("DISTILLERY_WORKERS", "0", "greater than or equal to 1"),
        ("DISTILLERY_METRICS_PORT", "tcp://10.0.0.1:8080", "unable to parse string as an integer"),
        ("DISTILLERY_RUN_AS_USER", "0", "greater than or equal to 1"),
        ("DISTILLERY_LOG_LEVEL", "loud", "'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("DISTILLERY_IMAGE_PULL_POLICY", "sometimes", "'Always', 'IfNotPresent' or 'Never'"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(variable: str, value: str, message: str) -> None:
    text = settings_error(**{variable: value})
    assert text.startswith(f"{variable}='{value}' is invalid: ")
    assert message in text


def test_a_leader_must_give_up_before_another_may_take_over() -> None:
    message = settings_error(DISTILLERY_LEASE_DURATION="10s", DISTILLERY_LEASE_RENEW_DEADLINE="10s")
    assert "a leader must stop before another replica may take over" in message


def test_other_variables_of_the_same_prefix_are_not_ours() -> None:
    """Kubernetes itself sets such variables for a Service called distillery."""
    assert read_settings({**IMAGES, "DISTILLERY_SERVICE_HOST": "10.0.0.1"}).workers == 16


def test_two_replicas_without_a_name_get_different_ones() -> None:
    assert read_settings(IMAGES).identity != read_settings(IMAGES).identity


def test_labels_of_nodes_are_read_from_the_json_that_helm_writes() -> None:
    text = '{"kubernetes.io/arch":"amd64"}'
    manifests = read_settings({**IMAGES, "DISTILLERY_STAGE_NODE_SELECTOR": text}).core.manifests
    assert manifests.stage_node_selector == {"kubernetes.io/arch": "amd64"}
    assert read_settings({**IMAGES, "DISTILLERY_STAGE_NODE_SELECTOR": ""}).core.manifests.stage_node_selector == {}


@pytest.mark.parametrize("text", ["kubernetes.io/arch=amd64", '["amd64"]', '{"gpu": true}'])
def test_labels_of_nodes_in_another_notation_are_named(text: str) -> None:
    assert settings_error(DISTILLERY_STAGE_NODE_SELECTOR=text) == (
        f"DISTILLERY_STAGE_NODE_SELECTOR={text!r} is not a JSON object of texts; write"
        ' {"kubernetes.io/arch": "amd64"}'
    )


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({}, "0.0.0.0"),
        ({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, "0.0.0.0"),
        ({"KUBERNETES_SERVICE_HOST": "fd00:10:96::1"}, "::"),
        ({"KUBERNETES_SERVICE_HOST": "10.96.0.1", "DISTILLERY_LISTEN_ADDRESS": "::"}, "::"),
    ],
)
def test_students_are_served_at_addresses_of_the_clusters_family(environment: dict[str, str], address: str) -> None:
    assert read_settings({**IMAGES, **environment}).core.manifests.listen_address == address
