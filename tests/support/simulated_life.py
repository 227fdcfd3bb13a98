"""A simulated cluster that is brought to a certain moment of a Distillation's life."""

from __future__ import annotations

import re

from distillery_api.evaluation import Evaluation, Score
from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from simulated_cluster import SimulatedCluster, ended

ROLLOUT, IDLE = "rollout", "idle"
MOMENTS: tuple[str, ...] = (Stage.GENERATE, Stage.TRAIN, Stage.EVALUATE, ROLLOUT, Stage.VERIFY, IDLE)
"""What is under way; idle: the student is served and verified."""
CANDIDATE, FIRST_STEP = "candidate", "first step"
CANARY_MOMENTS = (CANDIDATE, FIRST_STEP)
"""Of a canary: the candidate starts; it is verified and gets its first requests."""
CANARY = {
    "storage": {"accessModes": ["ReadWriteMany"]},
    "serving": {
        "runtime": "Transformers",
        "rollout": {"strategy": "Canary", "steps": [{"percent": 10, "duration": "5m"}, {"percent": 50}]},
    },
}


class SimulatedLife(SimulatedCluster):
    """A cluster in which everything goes well for a while."""

    @property
    def live(self) -> Stage | None:
        """The stage whose Job lives."""
        live = [found for (kind, _), found in self.objects.items() if kind == "Job" and not ended(found)]
        return Stage(live[0]["metadata"]["labels"]["app.kubernetes.io/component"]) if live else None

    @property
    def is_ready(self) -> bool:
        """Whether the wanted student is served."""
        return self.truth(ConditionType.READY) == "True"

    @property
    def under_way(self) -> str:
        """The moment of this life."""
        return self.live or (IDLE if self.is_ready else ROLLOUT)

    def complete(self) -> None:
        """The live Job's stage is done; a student meets every gate."""
        scores = {name: Score(score=score) for name, score in (("student", 0.9), ("teacher", 0.95), ("base", 0.2))}
        table = {"evaluation": Evaluation(sample_size=150, **scores)} if self.live is Stage.EVALUATE else {}
        self.start()
        self.finish(**table)

    def reach(self, moment: str) -> None:
        """Goes well until that is under way."""
        for _ in range(12):
            self.settle()
            if self.live:
                self.start()
            if moment == self.under_way:
                return
            self.goes_well()
        raise AssertionError(f"never reached {moment}: {self.status}")

    def reach_canary(self, moment: str) -> None:
        """A second student is made, whose server is to replace that of the first one by a canary."""
        self.reach(IDLE)
        self.change(training={"seed": 9})
        for _ in range(12):
            self.settle()
            if self.canary_moment == moment:
                return
            self.goes_well()
        raise AssertionError(f"never reached {moment}: {self.status}")

    @property
    def canary_moment(self) -> str | None:
        """The moment of the canary under way."""
        canary = self.status.serving and self.status.serving.canary
        if canary is None:
            return None
        return FIRST_STEP if canary.step else CANDIDATE

    def goes_well(self) -> None:
        """The live Job is done, or the servers answer, and a person lets a candidate take over."""
        if self.live:
            self.complete()
            return
        for name in ("conjnli", "conjnli-candidate"):
            if ("Deployment", name) in self.objects:
                self.serve(name=name)
        waits = self.condition(ConditionType.SUSPENDED)
        if waits and waits.reason == "AwaitingPromotion":
            [(annotation, value)] = re.findall(r"annotate distill conjnli (\S+)=(\S+) --overwrite", waits.message)
            self.annotations[annotation] = value
