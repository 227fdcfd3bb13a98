"""Signs that this process no longer receives events."""

from __future__ import annotations

from distillery_operator.controller.watch_health import WatchHealth, watch_problem

KEY = ("team-a", "small")
WATCHES = ("distillations.v1alpha1.distillery.dev@None", "pods.v1@None")
TASKS = {"watcher for distillations.v1alpha1.distillery.dev@None", "watcher for pods.v1@None", "worker 1"}


def test_with_all_watchers_alive_nothing_is_wrong() -> None:
    assert watch_problem(TASKS, WATCHES, ()) is None


def test_a_missing_watcher_is_named() -> None:
    assert watch_problem(TASKS - {"watcher for pods.v1@None"}, WATCHES, ()) == "there is no watcher for pods.v1@None"


def test_a_watcher_of_another_namespace_does_not_count() -> None:
    assert watch_problem(TASKS, ("pods.v1@team-a",), ()) == "there is no watcher for pods.v1@team-a"


def test_a_change_that_no_event_reported_is_named() -> None:
    problem = watch_problem(TASKS, WATCHES, (KEY,))
    assert problem == "team-a/small changed more than 120 s ago, but no event has reported it"


def test_a_read_before_its_event_is_no_sign_yet() -> None:
    watch_health = WatchHealth()
    watch_health.event_received(KEY, "10")
    assert watch_health.read(KEY, "11", now=0)
    assert watch_health.missed_events == ()
    watch_health.event_received(KEY, "11")
    assert not watch_health.read(KEY, "11", now=500)
    assert watch_health.missed_events == ()


def test_two_reads_two_minutes_apart_without_an_event_are_a_sign() -> None:
    watch_health = WatchHealth()
    watch_health.event_received(KEY, "10")
    watch_health.read(KEY, "11", now=0)
    watch_health.read(KEY, "11", now=121)
    assert watch_health.missed_events == (KEY,)


def test_later_changes_do_not_hide_the_first_one_that_was_missed() -> None:
    watch_health = WatchHealth()
    watch_health.event_received(KEY, "10")
    for minute in range(4):
        watch_health.read(KEY, str(11 + minute), now=60.0 * minute)
    assert watch_health.missed_events == (KEY,)


def test_a_late_event_ends_the_alarm() -> None:
    watch_health = WatchHealth()
    watch_health.read(KEY, "11", now=0)
    watch_health.read(KEY, "12", now=200)
    assert watch_health.missed_events == (KEY,)
    watch_health.event_received(KEY, "12")
    assert watch_health.missed_events == ()


def test_versions_are_compared_as_numbers() -> None:
    watch_health = WatchHealth()
    watch_health.event_received(KEY, "100")
    assert not watch_health.read(KEY, "99", now=0)


def test_a_deleted_object_is_forgotten() -> None:
    watch_health = WatchHealth()
    watch_health.read(KEY, "11", now=0)
    watch_health.read(KEY, "11", now=200)
    watch_health.deleted(KEY)
    assert watch_health.missed_events == ()
