"""How the student is served."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from distillery_api.base import NotIdentity, NotServerIdentity, Rule, matches
from distillery_api.spec.fields import Flag, SecretKeyReference, ShortName
from distillery_api.spec.model_image import ModelImage
from distillery_api.spec.rollout import LARGEST_SHARE_OF_PODS, RolloutOptions, RolloutStrategy
from distillery_api.spec.route import Route, RouteAccess, RouteKind
from distillery_api.spec.shared_server import SHARED_SERVER_RULES
from distillery_api.spec.stage_options import StageOptions
from distillery_api.spec.vllm_arguments import checked_arguments

ModelName = Annotated[
    str,
    Field(max_length=128),
    matches(
        "^[a-zA-Z0-9][-a-zA-Z0-9._:/@]*$",
        "not a name that requests can use; begin with a letter or a digit, and use letters, digits and - . _ : / @",
    ),
]


class ServingMode(StrEnum):
    """Whether the student is served."""

    DEPLOYMENT = "Deployment"
    NONE = "None"


class ServingRuntime(StrEnum):
    """Inference servers."""

    VLLM = "VLLM"
    TRANSFORMERS = "Transformers"


class AdapterMode(StrEnum):
    """What is served of a student that was trained with LoRA."""

    MERGED = "Merged"
    LORA = "LoRA"


def _has_key_for_route(serving: Serving) -> bool:
    return serving.route is None or serving.api_key is not None or serving.route.access is RouteAccess.OPEN


def _has_pods_for_shares(serving: Serving) -> bool:
    has_weights = serving.route is not None and serving.route.kind is RouteKind.HTTP_ROUTE
    return has_weights or serving.rollout.largest_percent <= LARGEST_SHARE_OF_PODS


class Serving(StageOptions):
    """How the student is served."""

    mode: Annotated[ServingMode, NotIdentity, NotServerIdentity] = ServingMode.DEPLOYMENT
    """Deployment serves the student with a Deployment and a Service of a stable name; None ends the run after the
    evaluation. Default: Deployment."""
    runtime: Annotated[ServingRuntime, NotIdentity] = ServingRuntime.VLLM
    """Inference server. VLLM runs on a GPU if you request one in resources, else on the CPU. Transformers is slower,
    answers one request at a time, and needs no further image. Default: VLLM."""
    adapter: Annotated[AdapterMode, NotServerIdentity] = AdapterMode.MERGED
    """Merged serves the student as one model. LoRA serves the base model, and the student as an adapter on it: a new
    student of the same base model is loaded into the running server, so that it takes over without a gap, whatever the
    volume. Requires the runtime VLLM and training.method LoRA, rsLoRA or QLoRA, and keeps the base model in the
    workspace; a change trains the student again, from the same rows. Default: Merged."""
    shared_server: Annotated[ShortName | None, NotIdentity, NotServerIdentity] = None
    """Name of another Distillation with adapter LoRA, in the same namespace, whose server serves this student, too,
    under this Distillation's own name and Service; no other Pod is needed. Both use one workspace claim
    (storage.claimName) and one base model (student.model.uri, generation.keepReasoning), and name the same apiKey;
    replicas and all that concerns the Pods is said there. Cannot be changed. Default: a server of its own."""
    replicas: Annotated[int, Field(strict=True, ge=0, le=1000), NotIdentity, NotServerIdentity] = 1
    """Number of serving Pods. More than one requires a ReadWriteMany volume or modelImage. Default: 1."""
    yield_gpu: Annotated[Flag | None, Field(alias="yieldGPU"), NotIdentity, NotServerIdentity] = None
    """Stops the server while a stage that asks for a GPU (train, evaluate) runs, and starts it again afterwards, also
    where the stage fails or is suspended. A stage in a queue runs once Kueue has admitted its Job. If false, both
    need a GPU at the same time. Default: true where server and stage both ask for a GPU, only one node can mount the
    volume, and the server uses it (without modelImage); else false."""
    model_names: Annotated[tuple[ModelName, ...], Field(max_length=8), NotIdentity] = ()
    """Further names that requests may use for the student, for example that of the model which it replaces. The first
    name is always that of the Distillation. Default: none."""
    api_key: Annotated[SecretKeyReference | None, NotIdentity] = None
    """Key that every request to /v1 must carry as `Authorization: Bearer KEY`; /health and /metrics stay open. Restart
    the server after a change of the Secret (annotation distillery.dev/restart-at). Default: no key."""
    bake_prompt: Annotated[Flag, NotIdentity] = False
    """Puts the student prompt into the served chat template, so that clients send their input only. A client's own
    system message takes its place. Default: false."""
    runtime_args: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=2048)], ...],
        Field(max_length=64),
        AfterValidator(checked_arguments),
        NotIdentity,
    ] = ()
    """Further arguments of `vllm serve`, for example [--max-num-seqs, "64", --enable-prefix-caching]. Options that the
    operator sets itself are refused. Only with the runtime VLLM. Default: none."""
    cost_per_hour: Annotated[float | None, Field(ge=0, le=1_000_000), NotIdentity, NotServerIdentity] = None
    """What the serving Pods cost per hour, in the currency of the teacher's pricing. With it,
    status.evaluation.cost compares a thousand calls of the student with a thousand of the teacher's. Default:
    unknown."""
    model_image: Annotated[ModelImage | None, NotIdentity, NotServerIdentity] = None
    """Pushes each student that passes the quality gate to a registry as an OCI image (the stage publish), and serves it
    from there: the serving Pods need no workspace volume, so they run on any node, in any number, and are replaced
    without a gap. Requires image volumes: Kubernetes 1.35, or 1.33 with the feature gate ImageVolume. A local run
    publishes nothing. Default: served from the workspace."""
    pinned_run: Annotated[Annotated[str, Field(min_length=1, max_length=63)] | None, NotIdentity, NotServerIdentity] = (
        None
    )
    """Hash of the training of a run in status.history, which is served instead of the newest one. New runs are made and
    evaluated, but not served. Default: the newest run."""
    rollout: Annotated[RolloutOptions, NotIdentity, NotServerIdentity] = RolloutOptions()
    """How a new student takes over from the one that is served."""
    route: Annotated[Route | None, NotIdentity, NotServerIdentity] = None
    """Way from outside the cluster to the student. Default: none."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.rollout) || (has(self.route) && self.route.kind == 'HTTPRoute') || (has(self.rollout.steps) ?"
            f" self.rollout.steps.all(s, s.percent <= {LARGEST_SHARE_OF_PODS}) : !has(self.rollout.canaryPercent) ||"
            f" self.rollout.canaryPercent <= {LARGEST_SHARE_OF_PODS})",
            "rollout: by numbers of Pods, a share of 90 percent takes nine Pods of the candidate beside each Pod of the"
            " server, and 99 percent would take 99; write at most 90, or set route.kind to HTTPRoute, whose weights"
            " make any share",
            _has_pods_for_shares,
        ),
        Rule(
            "!has(self.runtimeArgs) || size(self.runtimeArgs) == 0 || self.runtime == 'VLLM'",
            "runtimeArgs are those of vLLM; remove them, or set runtime to VLLM",
            lambda serving: not serving.runtime_args or serving.runtime is ServingRuntime.VLLM,
        ),
        Rule(
            "!has(self.route) || has(self.apiKey) || self.route.access == 'Open'",
            "route: without a key, anyone whom it reaches could use the student; set apiKey, or route.access to Open"
            " where that is wanted or the gateway checks who asks",
            _has_key_for_route,
        ),
        Rule(
            "!has(self.adapter) || self.adapter == 'Merged' || self.runtime == 'VLLM'",
            "adapter: only vLLM serves a LoRA adapter; set runtime to VLLM, or adapter to Merged",
            lambda serving: serving.adapter is AdapterMode.MERGED or serving.runtime is ServingRuntime.VLLM,
        ),
        Rule(
            "!has(self.adapter) || self.adapter == 'Merged' || !self.bakePrompt",
            "adapter: all adapters of a server share its chat template, which can hold no prompt of one of them; remove"
            " bakePrompt, or set adapter to Merged",
            lambda serving: serving.adapter is AdapterMode.MERGED or not serving.bake_prompt,
        ),
        Rule(
            "!has(self.adapter) || self.adapter == 'Merged' || !has(self.modelImage)",
            "adapter: an image holds a merged model; remove modelImage, or set adapter to Merged",
            lambda serving: serving.adapter is AdapterMode.MERGED or serving.model_image is None,
        ),
        Rule(
            "!has(self.adapter) || self.adapter == 'Merged' || self.rollout.strategy != 'Canary'",
            "adapter: adapters are swapped in the same Pods, which a canary cannot share out; set rollout.strategy to"
            " Rolling, or adapter to Merged",
            lambda serving: (
                serving.adapter is AdapterMode.MERGED or serving.rollout.strategy is not RolloutStrategy.CANARY
            ),
        ),
        *SHARED_SERVER_RULES,
    )
