"""The last part of a canary: the candidate takes over, and the server's own Pods become like its own.

Meanwhile the candidate's Pods, which are verified and get requests of users, stand in for those that are replaced. So
no further Pod has to start beside both servers: nobody needs a third set of devices. On the way back, where the
server's own Pods do not get ready, they stand in as well until the server from before answers.
"""

from __future__ import annotations

import copy

from distillery_operator.core.observation import Ownership
from distillery_operator.core.servers import selected_server
from distillery_operator.core.situation import Situation
from distillery_operator.manifests.child_metadata import Manifest


def candidate_stands_in(situation: Situation) -> bool:
    """Whether a candidate that takes over, or was to, answers requests of users."""
    return _is_taking_over(situation) and _answers(situation) and selected_server(situation.observation) is None


def is_to_stand_in(situation: Situation) -> bool:
    """Whether the candidate that takes over from now on could answer, but is not known to get the requests yet."""
    return _answers(situation) and not candidate_stands_in(situation)


def replaced_one_by_one(deployment: Manifest) -> Manifest:
    """The manifest of a Deployment, whose Pods are replaced one at a time without a further one."""
    changed = copy.deepcopy(deployment)
    if changed["spec"]["strategy"]["type"] == "RollingUpdate":
        changed["spec"]["strategy"]["rollingUpdate"] = {"maxUnavailable": 1, "maxSurge": 0}
    return changed


def _is_taking_over(situation: Situation) -> bool:
    """Whether the status says that this candidate takes over."""
    serving, seen = situation.previous.serving, situation.observation.candidate
    before = serving.canary if serving else None
    return before is not None and before.percent == 100 and seen is not None and seen.digest == before.server


def _answers(situation: Situation) -> bool:
    seen = situation.observation.candidate
    return seen is not None and seen.ownership is Ownership.OURS and bool(seen.ready_pods)
