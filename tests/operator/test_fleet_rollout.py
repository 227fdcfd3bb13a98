"""A rollout of the fleet moves one server after the other to the present installation, and stops where one fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from distillery_api.stage import Stage
from distillery_api.status import ConditionType
from distillery_operator.controller.fleet_rollout import SETTLING_SECONDS, WAITING_SECONDS, FleetRollout, Key
from distillery_operator.core.fleet import FleetState
from simulated_cluster import SimulatedCluster

READY, AVAILABLE, STALLED = ConditionType.READY, ConditionType.AVAILABLE, ConditionType.STALLED
NEW_IMAGE = "distillery-trainer:2"


class Fleet:
    """Three served Distillations, and the operator of the present installation."""

    def __init__(self) -> None:
        self.clusters = [SimulatedCluster() for _ in range(3)]
        for cluster in self.clusters:
            cluster.run_stages(*Stage)
            cluster.install(trainer_image=NEW_IMAGE)
        self.seconds = 0.0
        self.woken: list[Key] = []
        self.restart()

    def restart(self) -> None:
        """A new process of the operator."""
        self.turns = FleetRollout(lambda: self.seconds, self.woken.append)
        for index, cluster in enumerate(self.clusters):
            cluster.fleet_turn = lambda state, key=("team-a", str(index)): self.turns.has_turn(key, state)

    def ask_for(self, name: str) -> None:
        for cluster in self.clusters:
            cluster.settings = replace(cluster.settings, fleet_rollout=name)

    def settle(self) -> None:
        for cluster in self.clusters:
            cluster.settle()

    def moved(self) -> list[bool]:
        templates = [cluster.objects["Deployment", "conjnli"]["spec"]["template"] for cluster in self.clusters]
        return [template["spec"]["containers"][0]["image"] == NEW_IMAGE for template in templates]


def test_the_fleet_moves_one_after_the_other_and_each_is_verified_first() -> None:
    fleet = Fleet()
    fleet.ask_for("december")
    fleet.settle()
    assert fleet.moved() == [False, False, False]  # a new process observes first
    fleet.seconds += SETTLING_SECONDS
    for index in range(3):
        fleet.settle()
        assert fleet.moved() == [each <= index for each in range(3)]
        fleet.clusters[index].serve()
        fleet.settle()
        assert fleet.moved() == [each <= index for each in range(3)]  # it answers, and is not verified yet
        fleet.clusters[index].start()
        fleet.clusters[index].finish()
        fleet.clusters[index].settle()
        assert fleet.clusters[index].truth(READY) == "True"
    fleet.settle()
    assert [cluster.decisions() for cluster in fleet.clusters] == [(), (), ()]
    assert fleet.woken[:1] == [("team-a", "1")]


def test_without_a_rollout_of_the_fleet_nothing_moves() -> None:
    fleet = Fleet()
    fleet.seconds += SETTLING_SECONDS
    fleet.settle()
    assert fleet.moved() == [False, False, False]


def fail_to_move(cluster: SimulatedCluster) -> None:
    cluster.settle()
    cluster.roll_out({"reason": "ErrImagePull", "message": "not found"})
    cluster.settle()
    cluster.wait(600)
    cluster.settle()
    cluster.serve()
    cluster.settle()


def test_one_that_fails_goes_back_and_stops_the_others_also_after_a_restart() -> None:
    fleet = Fleet()
    fleet.ask_for("december")
    fleet.seconds += SETTLING_SECONDS
    fail_to_move(fleet.clusters[0])
    for _ in range(2):
        fleet.settle()
        assert fleet.moved() == [False, False, False]
        stalled = fleet.clusters[0].condition(STALLED)
        assert stalled is not None
        assert stalled.message.endswith("the rollout of the fleet stops here")
        assert [cluster.truth(AVAILABLE) for cluster in fleet.clusters] == ["True", "True", "True"]
        fleet.restart()
        fleet.clusters[0].settle()
        fleet.seconds += SETTLING_SECONDS


def test_a_retry_of_the_failed_one_lets_the_fleet_go_on() -> None:
    fleet = Fleet()
    fleet.ask_for("december")
    fleet.seconds += SETTLING_SECONDS
    fail_to_move(fleet.clusters[0])
    fleet.settle()
    fleet.clusters[0].request_retry()
    fleet.clusters[0].run_stages(Stage.VERIFY)
    fleet.settle()
    assert fleet.moved() == [True, True, False]


def test_a_restarted_operator_lets_the_one_that_moves_finish_first() -> None:
    fleet = Fleet()
    fleet.ask_for("december")
    fleet.seconds += SETTLING_SECONDS
    fleet.clusters[2].settle()
    assert fleet.moved() == [False, False, True]
    fleet.restart()
    fleet.settle()
    fleet.seconds += SETTLING_SECONDS
    fleet.settle()
    assert fleet.moved() == [False, False, True]
    fleet.clusters[2].run_stages(Stage.VERIFY)
    fleet.settle()
    assert fleet.moved() == [True, False, True]


def test_who_has_no_turn_asks_again_only_while_nobody_has() -> None:
    seconds = 0.0
    turns = FleetRollout(lambda: seconds, lambda key: None)
    first, second = ("a", "1"), ("a", "2")
    assert not turns.has_turn(first, FleetState.OUTDATED)
    assert turns.requeue_seconds(first) == WAITING_SECONDS
    seconds = SETTLING_SECONDS
    assert turns.has_turn(first, FleetState.OUTDATED)
    assert turns.has_turn(first, FleetState.UNREADY)  # its Pods are being replaced
    assert not turns.has_turn(second, FleetState.OUTDATED)
    assert turns.requeue_seconds(second) is None


@pytest.mark.parametrize(
    "change", [{"suspend": True}, {"training": {"seed": 7}}], ids=lambda change: next(iter(change))
)
def test_one_that_cannot_be_verified_while_it_moves_does_not_hold_up_the_others(change: dict[str, Any]) -> None:
    fleet = Fleet()
    fleet.ask_for("december")
    fleet.seconds += SETTLING_SECONDS
    fleet.clusters[0].settle()
    fleet.clusters[0].change(**change)
    fleet.settle()
    assert fleet.moved() == [True, True, False]


def test_one_that_failed_and_is_suspended_still_stops_the_others() -> None:
    fleet = Fleet()
    fleet.ask_for("december")
    fleet.seconds += SETTLING_SECONDS
    fail_to_move(fleet.clusters[0])
    fleet.clusters[0].change(suspend=True)
    fleet.settle()
    assert fleet.moved() == [False, False, False]
