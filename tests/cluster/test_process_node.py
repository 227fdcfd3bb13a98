"""The process node behaves as a kubelet does, as far as the other cluster tests rely on it."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from cluster import Cluster
from control_plane import ControlPlane
from process_node.node import ProcessNode
from waiting import wait_until

Manifest = dict[str, Any]

RESTRICTED_POD = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
RESTRICTED_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def container(script: str, **fields: Any) -> Manifest:
    return {
        "name": "stage",
        "image": "busybox:test",
        "command": ["sh", "-c", script],
        "securityContext": RESTRICTED_CONTAINER,
        **fields,
    }


def pod_spec(*containers: Manifest, **fields: Any) -> Manifest:
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": RESTRICTED_POD,
        "containers": list(containers),
        **fields,
    }


def pod(name: str, *containers: Manifest, **fields: Any) -> Manifest:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": pod_spec(*containers, **fields)}


def job(name: str, script: str, **fields: Any) -> Manifest:
    template = {"spec": pod_spec(container(script))}
    spec = {"backoffLimit": 0, "template": template, **fields}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def claim(name: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def secret(name: str, key: str, value: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: value}}


class Pods:
    """The pods of a test's namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def apply(self, *manifests: Manifest) -> None:
        self.cluster.apply(list(manifests), self.namespace)

    def get(self, name: str) -> Manifest:
        return self.cluster.get("pod", name, self.namespace)

    def ended(self, name: str) -> Manifest:
        """The pod once its phase is Succeeded or Failed."""
        return wait_until(lambda: self._if(name, lambda found: found["status"]["phase"] in ("Succeeded", "Failed")))

    def waiting(self, name: str, reason: str) -> str:
        """The message of the container once it waits for this reason."""
        state = wait_until(lambda: self._waiting(name, reason), what=f"{name} to wait for {reason}")
        return str(state.get("message", ""))

    def running(self, name: str) -> Manifest:
        """The pod once it is ready."""
        return wait_until(lambda: self._if(name, is_ready), what=f"{name} to be ready")

    def job(self, name: str, condition: str) -> Manifest:
        """The Job's condition of this type, once it is true."""
        return wait_until(lambda: self._job_condition(name, condition), what=f"{name} to be {condition}")

    def of_job(self, name: str) -> list[Manifest]:
        found = self.cluster.kubectl("get", "pods", "-n", self.namespace, "-l", f"job-name={name}", "-o", "json")
        items: list[Manifest] = json.loads(found)["items"]
        return items

    def _if(self, name: str, holds: Callable[[Manifest], bool]) -> Manifest | None:
        found = self.get(name)
        return found if holds(found) else None

    def _waiting(self, name: str, reason: str) -> Manifest | None:
        state: Manifest = self.get(name)["status"]["containerStatuses"][0]["state"].get("waiting", {})
        return state if state.get("reason") == reason else None

    def _job_condition(self, name: str, kind: str) -> Manifest | None:
        conditions = self.cluster.get("job", name, self.namespace)["status"].get("conditions", [])
        return next((each for each in conditions if each["type"] == kind and each["status"] == "True"), None)


def is_ready(found: Manifest) -> bool:
    conditions = found["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def terminated(found: Manifest) -> Manifest:
    state: Manifest = found["status"]["containerStatuses"][0]["state"]["terminated"]
    return state


@pytest.fixture
def pods(control_plane: Cluster, node: ProcessNode, namespace: str) -> Pods:
    return Pods(control_plane, namespace)


def test_job_completes_and_its_termination_message_arrives(pods: Pods) -> None:
    pods.apply(job("generate", "echo working; printf '{\"kept\": 3}' > /dev/termination-log"))
    pods.job("generate", "Complete")
    (done,) = pods.of_job("generate")
    assert terminated(done)["message"] == '{"kept": 3}'
    assert terminated(done)["reason"] == "Completed"


def test_only_the_last_4096_bytes_of_a_termination_message_arrive(pods: Pods) -> None:
    pods.apply(pod("long", container("printf 'start%04092dend' 0 > /dev/termination-log")))
    message = terminated(pods.ended("long"))["message"]
    assert (len(message), message[:3], message[-4:]) == (4096, "t00", "0end")


def test_exit_code_2_fails_a_job_at_once_when_its_policy_says_so(pods: Pods) -> None:
    rule = {"action": "FailJob", "onExitCodes": {"containerName": "stage", "operator": "In", "values": [2]}}
    pods.apply(job("train", "exit 2", backoffLimit=6, podFailurePolicy={"rules": [rule]}))
    assert pods.job("train", "Failed")["reason"] == "PodFailurePolicy"
    assert len(pods.of_job("train")) == 1


def test_environment_comes_from_values_secrets_config_maps_and_fields(pods: Pods, node: ProcessNode) -> None:
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"MODE": "fast"}}
    environment = [
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "teacher", "key": "api-key"}}},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "ALL", "value": "$(POD)/$(MODE)/$(UNKNOWN)/$$(POD)"},
    ]
    script = container(
        'echo "$KEY $MEMORY $ALL"; id -u',
        env=environment,
        envFrom=[{"configMapRef": {"name": "settings"}}],
        resources={"limits": {"memory": "512Mi"}},
    )
    pods.apply(secret("teacher", "api-key", "s3cret"), settings, pod("reader", script))
    pods.ended("reader")
    assert node.logs(pods.namespace, "reader") == "s3cret 512 reader/fast/$(UNKNOWN)/$(POD)\n10001\n"


def test_pod_with_a_missing_secret_waits_until_the_secret_is_there(pods: Pods) -> None:
    environment = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "later", "key": "api-key"}}}]
    pods.apply(pod("reader", container('echo -n "$KEY" > /dev/termination-log', env=environment)))
    assert pods.waiting("reader", "CreateContainerConfigError") == 'secret "later" not found'
    pods.apply(secret("later", "other", "x"))
    wait_until(lambda: pods.waiting("reader", "CreateContainerConfigError").startswith("couldn't find key"))
    message = pods.waiting("reader", "CreateContainerConfigError")
    assert message == f"couldn't find key api-key in Secret {pods.namespace}/later"
    pods.apply(secret("later", "api-key", "x"))
    assert terminated(pods.ended("reader"))["message"] == "x"


def test_missing_config_map_volume_is_reported_in_an_event(pods: Pods) -> None:
    mounted = container("true", volumeMounts=[{"name": "config", "mountPath": "/etc/distillery"}])
    pods.apply(pod("reader", mounted, volumes=[{"name": "config", "configMap": {"name": "absent"}}]))
    assert pods.waiting("reader", "ContainerCreating") == (
        'MountVolume.SetUp failed for volume "config" : configmap "absent" not found'
    )
    events = wait_until(lambda: pods.cluster.kubectl("events", "-n", pods.namespace, "--types=Warning"))
    assert "FailedMount" in events


def test_claim_written_by_one_pod_is_read_by_the_next(pods: Pods, node: ProcessNode) -> None:
    workspace = [{"name": "workspace", "persistentVolumeClaim": {"claimName": "workspace"}}]
    mount = {"name": "workspace", "mountPath": "/workspace"}
    pods.apply(
        claim("workspace"),
        pod(
            "writer",
            container("mkdir /workspace/a && echo kept > /workspace/a/rows", volumeMounts=[mount]),
            volumes=workspace,
        ),
    )
    assert pods.ended("writer")["status"]["phase"] == "Succeeded"
    below = {"name": "workspace", "mountPath": "/rows", "subPath": "a", "readOnly": True}
    script = "cat /rows/rows; echo no > /rows/rows || echo read-only"
    pods.apply(pod("reader", container(script, volumeMounts=[below]), volumes=workspace))
    pods.ended("reader")
    assert node.logs(pods.namespace, "reader").startswith("kept\n")
    assert node.logs(pods.namespace, "reader").endswith("read-only\n")
    assert (node.volume(pods.namespace, "workspace") / "a" / "rows").read_text() == "kept\n"


def test_deleted_claim_takes_its_folder_along(pods: Pods, node: ProcessNode) -> None:
    volumes = [{"name": "workspace", "persistentVolumeClaim": {"claimName": "scratch"}}]
    mounted = container("true", volumeMounts=[{"name": "workspace", "mountPath": "/workspace"}])
    pods.apply(claim("scratch"), pod("writer", mounted, volumes=volumes))
    pods.ended("writer")
    folder = node.volume(pods.namespace, "scratch")
    assert folder.is_dir()
    pods.cluster.kubectl("delete", "pod/writer", "pvc/scratch", "-n", pods.namespace)
    wait_until(lambda: not folder.exists(), what="the folder to go")


def test_write_outside_a_volume_fails_where_the_root_is_read_only(pods: Pods, node: ProcessNode) -> None:
    mounted = container(
        "echo x > /cache || echo refused; echo x > /tmp/x && echo written; ls /root || echo hidden",
        volumeMounts=[{"name": "scratch", "mountPath": "/tmp"}],
    )
    pods.apply(pod("writer", mounted, volumes=[{"name": "scratch", "emptyDir": {}}]))
    pods.ended("writer")
    log = node.logs(pods.namespace, "writer")
    assert "Read-only file system" in log
    assert [line for line in log.splitlines() if " " not in line] == ["refused", "written", "hidden"]


def test_command_that_does_not_exist_is_a_start_error(pods: Pods) -> None:
    pods.apply(pod("lost", {**container(""), "command": ["no-such-program"]}))
    ended = terminated(pods.ended("lost"))
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "no-such-program" in ended["message"]


def test_init_container_runs_first_and_a_sidecar_beside(pods: Pods, node: ProcessNode) -> None:
    shared = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    first = container("echo init > /shared/log", **shared) | {"name": "first"}
    beside = container("trap 'exit 0' TERM; echo sidecar >> /shared/log; while :; do sleep 0.05; done", **shared)
    beside |= {"name": "beside", "restartPolicy": "Always"}
    beside["startupProbe"] = {"exec": {"command": ["grep", "-q", "sidecar", "/shared/log"]}}
    pods.apply(
        pod(
            "ordered",
            container("cat /shared/log", **shared),
            initContainers=[first, beside],
            volumes=[{"name": "shared", "emptyDir": {"medium": "Memory"}}],
        )
    )
    assert pods.ended("ordered")["status"]["phase"] == "Succeeded"
    assert node.logs(pods.namespace, "ordered", "stage") == "init\nsidecar\n"


def test_kubectl_shows_and_follows_logs(pods: Pods, kubectl: Callable[..., str]) -> None:
    pods.apply(pod("worker", container("echo one; echo two; sleep 1; echo three")))
    wait_until(lambda: kubectl("-n", pods.namespace, "logs", "worker") == "one\ntwo\n")
    assert kubectl("-n", pods.namespace, "logs", "worker", "--tail=1") == "two\n"
    assert kubectl("-n", pods.namespace, "logs", "worker", "--follow") == "one\ntwo\nthree\n"


def test_service_account_of_a_pod_reaches_the_api_server(pods: Pods, node: ProcessNode) -> None:
    script = (
        "import kubernetes; kubernetes.config.load_incluster_config(); "
        "print(kubernetes.client.VersionApi().get_code().git_version)"
    )
    python = {**container(""), "image": "distillery-operator:test", "command": ["python", "-c", script]}
    pods.apply(pod("client", python, automountServiceAccountToken=True))
    pods.ended("client")
    assert node.logs(pods.namespace, "client") == "v1.37.2\n"


SERVER = """
import http.server, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(os.environ["HOSTNAME"].encode())
    def log_message(self, *_): pass
time.sleep(0.5)
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Answer).serve_forever()
"""


def server_deployment(replicas: int) -> list[Manifest]:
    labels = {"app": "student"}
    serving = {
        **container(""),
        "image": "distillery-operator:test",
        "command": ["python", "-c", SERVER],
        "ports": [{"name": "http", "containerPort": 8000}],
        "startupProbe": {"httpGet": {"path": "/health", "port": "http"}, "failureThreshold": 30, "periodSeconds": 1},
        "readinessProbe": {"tcpSocket": {"port": 8000}},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8000}},
    }
    template = {"metadata": {"labels": labels}, "spec": pod_spec(serving, restartPolicy="Always")}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    service = {"selector": labels, "ports": ports}
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "student"}, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "student"},
            "spec": service,
        },
    ]


def test_two_servers_on_one_port_become_available_behind_a_service(
    pods: Pods, service_url: Callable[..., str], kubectl: Callable[..., str]
) -> None:
    pods.apply(*server_deployment(replicas=2))
    kubectl("-n", pods.namespace, "wait", "deployment/student", "--for=condition=Available", "--timeout=30s")
    with urllib.request.urlopen(service_url(pods.namespace, "student"), timeout=5) as answer:
        assert answer.read().startswith(b"student-")
    path = f"/api/v1/namespaces/{pods.namespace}/services/student:http/proxy/v1/models"
    assert kubectl("get", "--raw", path).startswith("student-")


def test_a_pod_finds_a_service_by_its_name(pods: Pods, kubectl: Callable[..., str]) -> None:
    deployment, service = server_deployment(replicas=1)
    service["spec"]["ports"][0]["port"] = 8000
    pods.apply(deployment, service)
    kubectl("-n", pods.namespace, "wait", "deployment/student", "--for=condition=Available", "--timeout=30s")
    url = f"http://student.{pods.namespace}.svc:8000/v1/models"
    asking = f"import urllib.request; urllib.request.urlopen('{url}', timeout=5)"
    pods.apply(pod("client", container(f'until python3 -c "{asking}"; do sleep 0.1; done')))
    assert pods.ended("client")["status"]["phase"] == "Succeeded"


def test_a_pod_finds_another_one_by_its_name_below_a_headless_service(pods: Pods, node: ProcessNode) -> None:
    spec = {"clusterIP": "None", "selector": {"app": "peers"}, "ports": [{"port": 8000}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "peers"}, "spec": spec}
    first = pod("first-abcde", container("hostname; sleep 60"), hostname="first", subdomain="peers")
    first["metadata"]["labels"] = {"app": "peers"}
    find = "import socket; print(socket.gethostbyname('first.peers'))"
    asking = container(f'until python3 -c "{find}" 2>/dev/null; do sleep 0.1; done')
    pods.apply(service, first, pod("client", asking))
    pods.ended("client")
    assert node.logs(pods.namespace, "client").strip() == pods.get("first-abcde")["status"]["podIP"]
    assert node.logs(pods.namespace, "first-abcde").strip() == "first"


def test_deletion_sends_sigterm_and_waits_for_the_process(pods: Pods, node: ProcessNode) -> None:
    pods.apply(pod("worker", container("trap 'echo checkpoint; exit 143' TERM; echo up; while :; do sleep 0.05; done")))
    pods.running("worker")
    wait_until(lambda: node.logs(pods.namespace, "worker") == "up\n")
    pods.cluster.kubectl("delete", "pod", "worker", "-n", pods.namespace, "--timeout=10s")
    assert node.logs(pods.namespace, "worker") == "up\ncheckpoint\n"


def test_process_that_ignores_sigterm_is_killed_after_the_grace_period(pods: Pods, node: ProcessNode) -> None:
    pods.apply(pod("stubborn", container("sleep 600")))
    pods.running("stubborn")
    (pid,) = node.processes(f"{pods.namespace}/stubborn")
    pods.cluster.kubectl("delete", "pod", "stubborn", "-n", pods.namespace, "--grace-period=1", "--timeout=10s")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_liveness_probe_that_fails_restarts_the_container(pods: Pods) -> None:
    probe = {"exec": {"command": ["test", "!", "-e", "/tmp/broken"]}, "periodSeconds": 1, "failureThreshold": 1}
    script = container(
        "trap 'exit 1' TERM; touch /tmp/broken; while :; do sleep 0.05; done",
        livenessProbe=probe,
        volumeMounts=[{"name": "scratch", "mountPath": "/tmp"}],
    )
    pods.apply(pod("sick", script, restartPolicy="Always", volumes=[{"name": "scratch", "emptyDir": {}}]))
    wait_until(lambda: pods.get("sick")["status"]["containerStatuses"][0]["restartCount"] >= 1)
    ended = pods.get("sick")["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert ended["exitCode"] == 1


def test_container_that_keeps_failing_is_in_a_crash_loop(pods: Pods) -> None:
    pods.apply(pod("crash", container("exit 1"), restartPolicy="Always"))
    assert pods.waiting("crash", "CrashLoopBackOff").endswith("restarting failed container=stage")


def test_ordered_out_of_memory_fails_one_attempt_only(pods: Pods, node: ProcessNode) -> None:
    node.fail_start(f"{pods.namespace}/train-*", exit_code=137, reason="OOMKilled")
    pods.apply(job("train", "true", backoffLimit=1))
    first = wait_until(lambda: pods.of_job("train")[0], what="the pod")
    ended = terminated(pods.ended(first["metadata"]["name"]))
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled")


def test_running_container_killed_by_hand_ends_with_137(pods: Pods, node: ProcessNode) -> None:
    pods.apply(pod("worker", container("sleep 600")), pod("greedy", container("sleep 600")))
    pods.running("worker")
    pods.running("greedy")
    node.kill(f"{pods.namespace}/worker")
    node.oom_kill(f"{pods.namespace}/greedy")
    killed, greedy = terminated(pods.ended("worker")), terminated(pods.ended("greedy"))
    assert (killed["exitCode"], killed["reason"]) == (137, "Error")
    assert (greedy["exitCode"], greedy["reason"]) == (137, "OOMKilled")


def test_evicted_pod_is_failed_with_a_disruption_target(pods: Pods, node: ProcessNode) -> None:
    pods.apply(pod("worker", container("sleep 600")))
    pods.running("worker")
    node.evict(f"{pods.namespace}/worker")
    status = pods.ended("worker")["status"]
    disruption = next(each for each in status["conditions"] if each["type"] == "DisruptionTarget")
    assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
    assert (disruption["status"], disruption["reason"]) == ("True", "TerminationByKubelet")


def test_pull_error_holds_until_it_is_lifted(pods: Pods, node: ProcessNode) -> None:
    with node.fail_pull(f"{pods.namespace}/*", "pull access denied"):
        pods.apply(pod("worker", container("true")))
        assert pods.waiting("worker", "ImagePullBackOff").endswith("ErrImagePull: pull access denied")
    assert pods.ended("worker")["status"]["phase"] == "Succeeded"


def test_unknown_image_cannot_be_pulled(pods: Pods) -> None:
    pods.apply(pod("worker", {**container("true"), "image": "registry.example/none:1"}))
    assert "registry.example/none:1" in pods.waiting("worker", "ImagePullBackOff")


def test_held_pod_starts_when_it_is_let_go(pods: Pods, node: ProcessNode) -> None:
    with node.block_start(f"{pods.namespace}/*"):
        pods.apply(pod("worker", container("true")))
        pods.waiting("worker", "ContainerCreating")
        assert node.processes(f"{pods.namespace}/*") == []
    pods.ended("worker")


def test_second_pod_with_a_gpu_waits_for_the_first(pods: Pods) -> None:
    gpu = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    pods.apply(pod("first", container("sleep 600", **gpu)))
    pods.running("first")
    pods.apply(pod("second", container("true", **gpu)))
    condition = wait_until(lambda: pods.get("second")["status"]["conditions"][0])
    assert condition["reason"] == "Unschedulable"
    assert "Insufficient nvidia.com/gpu" in condition["message"]
    pods.cluster.kubectl("delete", "pod", "first", "-n", pods.namespace, "--grace-period=1")
    pods.ended("second")


def test_end_of_a_pod_is_reported_after_the_api_server_was_away(pods: Pods, control_plane: ControlPlane) -> None:
    pods.apply(pod("worker", container("sleep 1; echo -n survived > /dev/termination-log")))
    pods.running("worker")
    control_plane.stop_api_server()
    control_plane.start_api_server()
    assert terminated(pods.ended("worker"))["message"] == "survived"


def test_lost_node_becomes_unknown_and_its_pods_are_replaced_after_it_recovers(
    pods: Pods, node: ProcessNode, kubectl: Callable[..., str]
) -> None:
    pods.apply(*server_deployment(replicas=1))
    kubectl("-n", pods.namespace, "wait", "deployment/student", "--for=condition=Available", "--timeout=30s")
    node.lose()
    kubectl("wait", f"node/{node.name}", "--for=condition=Ready=Unknown", "--timeout=30s")
    wait_until(lambda: "deletionTimestamp" in kubectl("-n", pods.namespace, "get", "pods", "-o", "json"))
    node.recover()
    kubectl("-n", pods.namespace, "wait", "deployment/student", "--for=condition=Available", "--timeout=30s")
