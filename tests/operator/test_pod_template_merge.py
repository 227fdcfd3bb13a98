from __future__ import annotations

from typing import Any

import pytest

from distillery_operator.manifests.pod_template_merge import merged_template

GENERATED = {
    "metadata": {"labels": {"distillery.dev/name": "conjnli"}},
    "spec": {
        "restartPolicy": "Never",
        "securityContext": {"runAsUser": 10001, "runAsNonRoot": True},
        "containers": [
            {
                "name": "stage",
                "image": "trainer:1",
                "command": ["python"],
                "env": [{"name": "HOME", "value": "/tmp/home"}, {"name": "USER", "value": "distillery"}],
                "volumeMounts": [{"name": "workspace", "mountPath": "/workspace"}],
                "terminationMessagePath": "/dev/termination-log",
                "livenessProbe": {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 10},
                "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
            }
        ],
        "volumes": [
            {"name": "workspace", "persistentVolumeClaim": {"claimName": "w"}},
            {"name": "cache", "emptyDir": {}},
        ],
    },
}

Raw = dict[str, Any]


def merged(user: Raw) -> Raw:
    return merged_template(GENERATED, user, frozenset({"workspace"}))


def stage(**fields: Any) -> Raw:
    """The generated container with a user's fields over it."""
    found = merged({"spec": {"containers": [{"name": "stage", **fields}]}})["spec"]["containers"]
    assert len(found) == 1
    return dict(found[0])


def test_an_empty_template_changes_nothing() -> None:
    assert merged({}) == GENERATED


def test_maps_are_merged_and_values_replaced() -> None:
    spec = merged({"spec": {"securityContext": {"runAsUser": 7}, "nodeSelector": {"a": "b"}}})["spec"]
    assert spec["securityContext"] == {"runAsUser": 7, "runAsNonRoot": True}
    assert spec["nodeSelector"] == {"a": "b"}


def test_containers_are_merged_by_name_and_others_added() -> None:
    template = {"spec": {"containers": [{"name": "sidecar", "image": "s:1"}, {"name": "stage", "image": "mine:1"}]}}
    first, second = merged(template)["spec"]["containers"]
    assert (first["name"], first["image"], first["command"]) == ("stage", "mine:1", ["python"])
    assert second == {"name": "sidecar", "image": "s:1"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"livenessProbe": {"periodSeconds": 3}}, {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 3}),
        ({"livenessProbe": {"httpGet": {"path": "/mine"}}}, {"httpGet": {"path": "/mine", "port": "http"}}),
        ({"livenessProbe": {"tcpSocket": {"port": 8000}}}, {"tcpSocket": {"port": 8000}}),
        ({"livenessProbe": {"exec": {"command": ["true"]}}}, {"exec": {"command": ["true"]}}),
        ({"livenessProbe": {"grpc": {"port": 1}}}, {"grpc": {"port": 1}}),
    ],
)
def test_a_probe_asks_in_one_way_only(fields: Raw, expected: Raw) -> None:
    assert stage(**fields)["livenessProbe"] == {"periodSeconds": 10, **expected}


@pytest.mark.parametrize(
    "mine",
    [{"sleep": {"seconds": 20}}, {"exec": {"command": ["true"]}}, {"httpGet": {"path": "/stop", "port": 8000}}],
)
def test_a_container_ends_in_one_way_only(mine: Raw) -> None:
    assert stage(lifecycle={"preStop": mine})["lifecycle"] == {"preStop": mine}


def test_variables_replace_their_namesakes_whole() -> None:
    reference = {"name": "USER", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    assert stage(env=[reference, {"name": "MORE", "value": "1"}])["env"] == [
        {"name": "HOME", "value": "/tmp/home"},
        reference,
        {"name": "MORE", "value": "1"},
    ]


def test_command_mounts_and_message_of_the_stage_stay() -> None:
    mounts = [{"name": "mine", "mountPath": "/workspace"}, {"name": "mine", "mountPath": "/extra"}]
    found = stage(command=["sh"], args=["-c"], workingDir="/", terminationMessagePath="/x", volumeMounts=mounts)
    assert found["command"] == ["python"]
    assert "args" not in found
    assert "workingDir" not in found
    assert found["terminationMessagePath"] == "/dev/termination-log"
    assert found["volumeMounts"] == [
        {"name": "workspace", "mountPath": "/workspace"},
        {"name": "mine", "mountPath": "/extra"},
    ]


def test_a_cache_may_be_replaced_and_the_workspace_may_not() -> None:
    mine = [
        {"name": "cache", "persistentVolumeClaim": {"claimName": "models"}},
        {"name": "workspace", "emptyDir": {}},
        {"name": "more", "emptyDir": {}},
    ]
    assert merged({"spec": {"volumes": mine}})["spec"]["volumes"] == [
        {"name": "workspace", "persistentVolumeClaim": {"claimName": "w"}},
        {"name": "cache", "persistentVolumeClaim": {"claimName": "models"}},
        {"name": "more", "emptyDir": {}},
    ]


def test_restart_policy_and_our_labels_stay() -> None:
    template = merged(
        {"metadata": {"labels": {"distillery.dev/name": "x", "team": "a"}}, "spec": {"restartPolicy": "Always"}}
    )
    assert template["metadata"]["labels"] == {"distillery.dev/name": "conjnli", "team": "a"}
    assert template["spec"]["restartPolicy"] == "Never"


def test_the_generated_template_is_left_as_it_was() -> None:
    merged({"metadata": {"labels": {"team": "a"}}, "spec": {"containers": [{"name": "stage", "env": []}]}})
    assert GENERATED["metadata"] == {"labels": {"distillery.dev/name": "conjnli"}}
