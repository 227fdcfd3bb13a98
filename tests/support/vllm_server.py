"""vLLM, started with the command and the variables that the operator gives to a serving Pod without a GPU."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from distillery_api.stage import Stage
from distillery_operator.manifests.server import ServedModel
from distillery_operator.manifests.serving import rendered_server, serving_pod
from distillery_operator.manifests.settings import ManifestSettings
from distillery_operator.planning.plan import make_plan
from simulated_cluster import distillation, spec

NAME = "student"
START_SECONDS = 300
SETTINGS = ManifestSettings("distillery-trainer:test", "vllm:test", "vllm-cpu:test")


def pod(task="NLI", **serving):
    """A Pod that serves a student, measured in bfloat16, on vLLM."""
    plan = make_plan(distillation(spec(task=task, serving={"runtime": "VLLM", **serving}), name=NAME))
    served = ServedModel.planned(plan, plan.stage(Stage.TRAIN).input_hash, "bfloat16")
    return serving_pod(plan, rendered_server(plan, SETTINGS, served))


def pod_container(**serving):
    """Its container."""
    return pod(**serving)["spec"]["containers"][0]


def write_modules(folder, manifest):
    """Write the Python modules that a Pod's volume shows, from its annotations."""
    [volume] = [each for each in manifest["spec"]["volumes"] if "downwardAPI" in each]
    for item in volume["downwardAPI"]["items"]:
        annotation = item["fieldRef"]["fieldPath"].removeprefix("metadata.annotations['").removesuffix("']")
        (folder / item["path"]).write_text(manifest["metadata"]["annotations"][annotation])


def pod_environment(container):
    """Its variables, without those that name folders of the Pod."""
    values = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    return {name: value for name, value in values.items() if value and not value.startswith("/")}


@dataclass(frozen=True)
class VllmServer:
    """A running server."""

    process: subprocess.Popen
    address: str
    log: Path
    key: str | None = None
    temporary: Path = Path("/tmp")
    before_stop: tuple[str, ...] = ()

    def announce_stop(self):
        """What its Pod does before the stop request, without the time that it gives to clients."""
        command = [part.replace("sleep 5", "sleep 0") for part in self.before_stop]
        subprocess.run(command, env={**os.environ, "TMPDIR": str(self.temporary)}, check=True)

    def post(self, path, timeout=120, **body):
        """The response to a request."""
        return requests.post(f"{self.address}{path}", json=body, timeout=timeout, headers=self._headers())

    def get(self, path):
        """The response to a request."""
        return requests.get(f"{self.address}{path}", timeout=30, headers=self._headers())

    def _headers(self):
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def ask(self, text, **fields):
        """The reply to one user message, with no sampling parameter but those in `fields`."""
        messages = [{"role": "user", "content": text}]
        response = self.post("/v1/chat/completions", **{"model": NAME, "messages": messages, **fields})
        response.raise_for_status()
        return response.json()["choices"][0]["message"]["content"]


@contextlib.contextmanager
def vllm_server(
    programs: Path,
    model: Path,
    log: Path,
    *,
    prompt: str | None = None,
    key: str | None = None,
    adapters: Path | None = None,
    **serving: Any,
) -> Iterator[VllmServer]:
    """A server of the model in `model`, on the loopback interface, with the fields of `serving`. With `prompt`, it is
    baked in; with `key`, clients need it; with `adapters`, it loads those that this file names. Raises RuntimeError
    where it does not start."""
    serving |= {"adapter": "LoRA"} if adapters else {}
    reference = {"apiKey": {"secretName": "clients"}} if key else {}
    manifest, port = pod(bakePrompt=prompt is not None, **reference, **serving), free_port()
    (log.parent / "prompt.txt").write_text(prompt or "")
    container = manifest["spec"]["containers"][0]
    write_modules(log.parent, manifest)
    replaced = {
        "python3": str(programs / "python"),
        "vllm": str(programs / "vllm"),
        "/student-prompt.txt": str(log.parent / "prompt.txt"),
        "/tmp/chat_template.jinja": str(log.parent / "template.jinja"),
        f"/models/{NAME}": str(model),
        f"/models/{NAME}-base": str(model),
        "0.0.0.0": "127.0.0.1",
        "8000": str(port),
    }
    command = [replaced.get(part, part) for part in container["command"]]
    environment = {**os.environ, **pod_environment(container), "PYTHONPATH": str(log.parent)}
    environment |= {"VLLM_API_KEY": key} if key else {}
    # Short, since sockets are in it.
    temporary = Path(tempfile.mkdtemp())
    environment["TMPDIR"] = str(temporary)
    environment |= {"DISTILLERY_ADAPTERS": str(adapters)} if adapters else {}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
    try:
        before_stop = tuple(container["lifecycle"]["preStop"]["exec"]["command"])
        running = VllmServer(process, f"http://127.0.0.1:{port}", log, key, temporary, before_stop)
        wait_until_ready(running)
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=120)
        shutil.rmtree(temporary, ignore_errors=True)


def wait_until_ready(server: VllmServer) -> None:
    """Wait until the server is healthy."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        with contextlib.suppress(requests.ConnectionError):
            if server.get("/health").status_code == 200:
                return
        time.sleep(0.5)
    raise RuntimeError(server.log.read_text(errors="replace")[-4000:])


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
