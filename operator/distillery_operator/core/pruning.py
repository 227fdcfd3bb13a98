"""Which models in the workspace no kept run needs: the newest `storage.history` runs are kept, and every model that the
server, its status or `spec.serving` names; of the base models that are served with adapters, those that one of these
needs.

The status lists what may be deleted until it is forgotten, since a deletion that was cut short is to be repeated; a
model in that list counts as gone. A later run must be trained before anything is deleted, so that a spec that was
changed by mistake costs no model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from distillery_api.stage import Stage
from distillery_api.status import Run
from distillery_operator.core.runs import known_verification
from distillery_operator.core.situation import Situation
from distillery_operator.planning.adapters import base_folder
from distillery_operator.planning.plan import PlannedStage

PRUNING_STAGES = frozenset({Stage.EVALUATE, Stage.VERIFY})
"""The stages that delete."""

REMEMBERED = 32
_BASE = "base-"


def prunable_folders(situation: Situation, history: Sequence[Run]) -> tuple[str, ...]:
    """The folders of models that may be deleted, for the status with this history, newest run first; the last ones to
    become so."""
    previous, planned = situation.previous, situation.plan.stage(Stage.TRAIN).folder
    trained = (PlannedStage(each.name, each.input_hash) for each in previous.stages if each.name is Stage.TRAIN)
    known = (*(each.folder for each in trained), *(_folder(run) for run in reversed(previous.history)))
    newest = {_folder(run) for run in history[: situation.plan.spec.storage.history]}
    named = _names(situation)
    new = (folder for folder in known if folder not in newest and folder.removeprefix("train-") not in named)
    models = dict.fromkeys((*previous.prunable_folders, *new))
    models.pop(planned, None)
    bases = _unused_bases(situation, [run for run in (*previous.history, *history) if _folder(run) not in models])
    kept = (folder for folder in models if not folder.startswith(_BASE))
    return tuple(dict.fromkeys((*kept, *bases)))[-REMEMBERED:]


def _unused_bases(situation: Situation, kept_runs: Sequence[Run]) -> tuple[str, ...]:
    """The base models that were kept for adapters, and are needed by no run whose adapter is kept, by no server, and
    not by the present spec. One that a later run needs again is no longer among them."""
    previous, planned, named = situation.previous, base_folder(situation.plan.spec), _names(situation)
    known = (run.adapter.base for run in reversed(previous.history) if run.adapter)
    before = (folder for folder in previous.prunable_folders if folder.startswith(_BASE))
    needed = {planned, *(run.adapter.base for run in kept_runs if run.adapter)}
    return tuple(base for base in dict.fromkeys((*before, *known)) if base not in needed and base not in named)


def folders_to_prune(situation: Situation, planned: PlannedStage) -> tuple[str, ...]:
    """The folders that an attempt at this stage deletes."""
    return prunable_folders(situation, situation.previous.history) if planned.stage in PRUNING_STAGES else ()


def _folder(run: Run) -> str:
    return run.model_path.partition("/")[0]


def _names(situation: Situation) -> str:
    """Everything that may name a model in use: one that serves, or that the server may go back to."""
    observation, serving = situation.observation, situation.previous.serving
    servers = (each.manifest for each in (observation.deployment, observation.candidate) if each)
    manifests = "".join(map(json.dumps, servers))
    reported = serving.model_dump_json() if serving else ""
    return manifests + _fallback(situation) + reported + situation.plan.spec.serving.model_dump_json()


def _fallback(situation: Situation) -> str:
    """The model to go back to, which the Deployment stores compressed, until the deployed one serves and is verified.
    One that is pinned may have been verified long before."""
    deployment, serving = situation.observation.deployment, situation.previous.serving
    if deployment is None or deployment.fallback is None:
        return ""
    rolled_out = serving is not None and serving.server == deployment.digest
    if rolled_out and known_verification(situation, deployment.digest):
        return ""
    adapter = deployment.fallback.model.adapter
    return deployment.fallback.model.model_path + (adapter.base if adapter else "")
