"""What the page says beside the models' own words: where to read on, and an example of each field of the spec."""

from __future__ import annotations

from dataclasses import dataclass

INTRODUCTION = """\
# The manifest

Every field of a `Distillation` (`apiVersion: distillery.dev/v1alpha1`), with the words of `kubectl explain
distillation.spec`. [getting-started.md](getting-started.md) is the way from rows to a manifest,
[examples/](../examples) has one for every task, and `distillery validate FILE` checks a file as the API server would:
with the sentences that stand here under *refused otherwise*. Unknown fields are refused as well.

A change of a field runs those stages again whose results depend on it ([lifecycle.md](lifecycle.md)). **°** marks a
field, with all that stands in it, on which no result depends: its change runs nothing again."""

SHARED_INTRODUCTION = "Objects that several fields of the spec hold."

STATUS_INTRODUCTION = """\
What the operator reports, in short: the top level and the objects right inside it. `kubectl explain
distillation.status --recursive` goes on; [status.md](status.md) explains conditions, reasons and remedies."""


@dataclass(frozen=True)
class Section:
    """What a section says beside the models' own words."""

    pages: tuple[str, ...]
    """Pages of docs/ to read on."""
    example: str
    """A part of a spec, as YAML."""


SECTIONS = {
    "queue": Section(("queues.md",), "queue: {name: team-nlp, priorityClass: low}"),
    "childMetadata": Section(
        ("operations.md",),
        """
childMetadata:
  labels: {team: nlp}
  annotations: {example.com/cost-centre: "42"}
""",
    ),
    "data": Section(
        ("data.md",),
        """
data:
  train:
    uri: s3://reviews/2026/*.csv
    columns: {prompt: "Review: {title}\\n{text}", gold: sentiment}
    where: {language: de}
  validationFraction: 0.2
  labels:
  - {name: positive, value: "1"}
  - {name: negative, value: "0", description: Any complaint at all.}
  credentials: {secretName: bucket}
""",
    ),
    "generation": Section(
        ("teachers.md", "filters.md", "tasks.md"),
        """
generation:
  chainOfThought: true
  samples: 5
  prompts: {instructions: "Judge the text by what it says of the hotel, not of the journey."}
  budget: {maxCost: 40}
  filters: {duplicates: Near}
  teachers:
  - name: llama-405b
    endpoint: https://teacher.example/v1
    model: Meta-Llama-3.1-405B-Instruct
    apiKey: {secretName: teacher}
    pricing: {currency: EUR, inputPerMillion: 3, outputPerMillion: 3}
    limits: {requestsPerMinute: 600}
""",
    ),
    "student": Section(
        ("training.md",),
        """
student:
  model: {uri: "hf://meta-llama/Llama-3.2-1B-Instruct@main"}
  credentials: {secretName: hub}       # with the key HF_TOKEN
""",
    ),
    "training": Section(
        ("training.md", "bad-students.md"),
        """
training:
  lora: {rank: 32}
  epochs: 5
  learningRate: 0.0005
  timeout: 12h
  resources: {limits: {nvidia.com/gpu: 1, memory: 48Gi}}
""",
    ),
    "evaluation": Section(
        ("scores.md", "lifecycle.md"),
        """
evaluation:
  learningCurve: true
  gate: {minScore: 0.9, againstServing: Better}
""",
    ),
    "serving": Section(
        ("serving.md", "lifecycle.md"),
        """
serving:
  apiKey: {secretName: clients}
  runtimeArgs: [--max-num-seqs, "64"]
  replicas: 2
  modelImage: {repository: registry.example.com/nlp/students, credentials: {secretName: registry}}
  rollout: {strategy: Canary, steps: [{percent: 10, duration: 10m}, {percent: 50, duration: 30m}]}
  resources: {limits: {nvidia.com/gpu: 1}}
""",
    ),
    "publication": Section(
        ("serving.md", "security.md"),
        """
publication:
  hub:
    repository: team/hotel-reviews
    credentials: {secretName: hub}     # with the key HF_TOKEN, which may write there
  signingKey: {secretName: signing}    # with the key private-key, in PEM
""",
    ),
    "tracking": Section(
        ("training.md",),
        """
tracking:
  reportTo: [MLflow, TensorBoard]
  experiment: nlp-students
  registeredModel: hotel-reviews
  credentials: {secretName: mlflow}    # with the keys MLFLOW_TRACKING_URI and MLFLOW_TRACKING_TOKEN
""",
    ),
    "storage": Section(
        ("real-cluster.md", "operations.md"),
        """
storage: {size: 100Gi, storageClassName: fast, accessModes: [ReadWriteMany], history: 5}
""",
    ),
}
"""By the top-level field; one that holds no object has none."""
