"""The control plane that the cluster tests start is a real one, and can be cut off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from api_outage_proxy import ApiOutageProxy
from cluster import Cluster, CommandFailed
from control_plane import ControlPlane


def client_version(plane: Cluster, kubeconfig: Path) -> str:
    return plane.kubectl("--kubeconfig", str(kubeconfig), "--request-timeout=5s", "get", "--raw", "/version")


@pytest.fixture
def own_plane(control_plane: Cluster) -> ControlPlane:
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("needs a control plane of its own, and KUBECONFIG_TEST names another cluster")
    return control_plane


def test_server_is_the_pinned_version(own_plane: ControlPlane) -> None:
    assert json.loads(client_version(own_plane, own_plane.kubeconfig))["gitVersion"] == "v1.37.2"


def test_service_account_may_only_do_what_a_role_allows(control_plane: Cluster, namespace: str) -> None:
    kubeconfig = control_plane.kubeconfig_for("default", namespace)
    with pytest.raises(CommandFailed, match=f"system:serviceaccount:{namespace}:default.*cannot list.*pods"):
        control_plane.kubectl("--kubeconfig", str(kubeconfig), "get", "pods", "-n", namespace)


def test_restricted_namespace_refuses_a_pod_that_runs_as_root(control_plane: Cluster, namespace: str) -> None:
    with pytest.raises(CommandFailed, match="violates PodSecurity"):
        control_plane.kubectl("run", "root", "--image=busybox:test", "-n", namespace)


def test_line_to_the_server_is_cut_for_one_client_only(own_plane: ControlPlane) -> None:
    with ApiOutageProxy(own_plane.port) as proxy:
        kubeconfig = own_plane.kubeconfig_for("default", "default", server=proxy.server)
        assert "v1.37.2" in client_version(own_plane, kubeconfig)
        proxy.cut()
        with pytest.raises(CommandFailed):
            client_version(own_plane, kubeconfig)
        assert "v1.37.2" in client_version(own_plane, own_plane.kubeconfig)
        proxy.restore()
        assert "v1.37.2" in client_version(own_plane, kubeconfig)
