"""The cache ends equal to the server's truth, whatever becomes of the events on their way."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from distillery_operator.cluster.object_cache import KINDS, ObjectCache, listed_names

Raw = dict[str, Any]


def stored(name: str, version: int, *, kind: str = "Job", owner: str = "small", **fields: Any) -> Raw:
    labels = {"app.kubernetes.io/managed-by": "distillery", "distillery.dev/name": owner}
    metadata = {"namespace": "a", "name": name, "resourceVersion": str(version), "labels": labels}
    return {"kind": kind, "metadata": metadata, **fields}


def test_an_object_is_read_as_it_was_put_in() -> None:
    cache = ObjectCache()
    job = stored("j", 7, spec={"suspend": False}, status={"active": 1})

    assert cache.put("Job", job)
    assert cache.get("Job", "a", "j") == job
    assert cache.get("Job", "b", "j") is None
    assert cache.get("Pod", "a", "j") is None


def test_what_nobody_reads_is_not_kept_and_no_change() -> None:
    cache = ObjectCache()
    job = stored("j", 7)
    job["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "x"}
    cache.put("Job", job)
    job["metadata"] |= {"managedFields": [{"manager": "kubectl"}], "resourceVersion": "8"}

    assert not cache.put("Job", job)
    assert cache.version("Job", "a", "j") == 8
    assert cache.get("Job", "a", "j") == stored("j", 8) | {
        "metadata": stored("j", 8)["metadata"] | {"annotations": {"team": "x"}}
    }


def test_children_are_found_by_their_owner() -> None:
    cache = ObjectCache()
    for name, owner in (("b", "small"), ("a", "small"), ("c", "other")):
        cache.put("Pod", stored(name, 1, kind="Pod", owner=owner))

    assert [pod["metadata"]["name"] for pod in cache.children("Pod", "a", "small")] == ["a", "b"]
    assert [pod["metadata"]["name"] for pod in cache.children("Pod", "a", "other")] == ["c"]
    assert cache.children("Pod", "a", "nobody") == ()


def test_a_child_that_gets_another_owner_leaves_the_first() -> None:
    cache = ObjectCache()
    cache.put("Pod", stored("p", 1, kind="Pod", owner="small"))
    cache.put("Pod", stored("p", 2, kind="Pod", owner="other"))

    assert cache.children("Pod", "a", "small") == ()
    assert len(cache.children("Pod", "a", "other")) == 1


def test_an_older_version_never_replaces_a_newer_one() -> None:
    cache = ObjectCache()
    cache.put("Job", stored("j", 10, status={"succeeded": 1}))

    assert not cache.put("Job", stored("j", 9, status={"active": 1}))
    assert not cache.delete("Job", stored("j", 8))
    assert cache.get("Job", "a", "j") == stored("j", 10, status={"succeeded": 1})


def test_versions_are_numbers() -> None:
    cache = ObjectCache()
    cache.put("Job", stored("j", 99))

    assert cache.put("Job", stored("j", 100, status={"active": 1}))


def test_a_late_event_does_not_bring_back_what_was_deleted() -> None:
    cache = ObjectCache()
    cache.put("Job", stored("j", 5))

    assert cache.delete("Job", stored("j", 7))
    assert not cache.put("Job", stored("j", 6))
    assert cache.get("Job", "a", "j") is None


def test_the_deletion_of_an_earlier_object_of_that_name_does_not_remove_a_new_one() -> None:
    cache = ObjectCache()
    cache.put("Job", stored("j", 9, metadata_uid="new"))

    assert not cache.delete("Job", stored("j", 8))
    assert cache.get("Job", "a", "j") is not None


def test_an_object_that_loses_its_label_is_no_longer_known() -> None:
    cache = ObjectCache()
    cache.put("Service", stored("s", 1, kind="Service"))
    foreign = stored("s", 2, kind="Service")
    foreign["metadata"]["labels"] = {}

    assert cache.put("Service", foreign)
    assert cache.get("Service", "a", "s") is None


def test_a_list_drops_what_was_deleted_unseen_and_names_its_owner() -> None:
    cache = ObjectCache()
    for name, version in (("gone", 3), ("there", 4), ("newer than the list", 20)):
        cache.put("Pod", stored(name, version, kind="Pod"))

    assert cache.keep_only("Pod", "a", {("a", "there")}, "10") == (("a", "small"),)
    assert [pod["metadata"]["name"] for pod in cache.children("Pod", "a", "small")] == ["newer than the list", "there"]


def test_a_list_of_one_namespace_says_nothing_about_another() -> None:
    cache = ObjectCache()
    cache.put("Pod", stored("p", 3, kind="Pod"))

    assert cache.keep_only("Pod", "b", set(), "10") == ()
    assert cache.keep_only("Pod", None, set(), "10") == (("a", "small"),)


def test_an_absent_object_is_forgotten_unless_it_has_appeared_meanwhile() -> None:
    cache = ObjectCache()
    cache.put("Job", stored("j", 3))

    assert not cache.absent("Job", "a", "j", 2)
    assert cache.absent("Job", "a", "j", 3)
    assert cache.get("Job", "a", "j") is None


def test_a_pod_of_nine_kilobytes_takes_less_than_two() -> None:
    cache, environment = ObjectCache(), [{"name": f"VARIABLE_{number}", "value": "x" * 50} for number in range(99)]
    cache.put("Pod", stored("p", 1, kind="Pod", spec={"containers": [{"name": "stage", "env": environment}]}))

    assert cache.size < 2048


HISTORY = st.lists(
    st.tuples(st.sampled_from(KINDS[:3]), st.sampled_from("xyz"), st.sampled_from(["write", "delete"])), max_size=25
)


class Server:
    """What the API server holds, and every event that it has sent."""

    def __init__(self) -> None:
        self.version = 0
        self.objects: dict[tuple[str, str], Raw] = {}
        self.events: list[tuple[str, str, Raw]] = []

    def write(self, kind: str, name: str) -> Raw:
        self.version += 1
        self.objects[kind, name] = stored(name, self.version, kind=kind, owner="small", data=self.version)
        self.events.append(("MODIFIED", kind, self.objects[kind, name]))
        return self.objects[kind, name]

    def delete(self, kind: str, name: str) -> None:
        found = self.objects.pop((kind, name), None)
        if found:
            self.version += 1
            metadata = {**found["metadata"], "resourceVersion": str(self.version)}
            self.events.append(("DELETED", kind, {**found, "metadata": metadata}))

    def of(self, kind: str) -> list[Raw]:
        return [found for (each, _), found in self.objects.items() if each == kind]


def deliver(cache: ObjectCache, event: tuple[str, str, Raw]) -> None:
    type_, kind, manifest = event
    cache.delete(kind, manifest) if type_ == "DELETED" else cache.put(kind, manifest)


def relist(cache: ObjectCache, snapshot: dict[str, list[Raw]], version: int) -> None:
    for kind, objects in snapshot.items():
        for manifest in objects:
            cache.put(kind, manifest)
        cache.keep_only(kind, None, set(listed_names(objects)), str(version))


@settings(max_examples=300, deadline=None)
@given(history=HISTORY, data=st.data())
def test_any_interleaving_of_events_writes_and_lists_ends_in_the_servers_truth(
    history: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    """Events are dropped, delayed, repeated and reordered; our own writes come at once; a list is of an earlier moment.
    After a last list of the present, and whatever is still under way, the cache has exactly what the server has."""
    cache, server = ObjectCache(), Server()
    under_way: list[tuple[str, str, Raw]] = []
    snapshot, snapshot_version = dict[str, list[Raw]](), 0
    for kind, name, what in history:
        sent = len(server.events)
        written = server.write(kind, name) if what == "write" else server.delete(kind, name)
        if written and data.draw(st.booleans(), "our own write"):
            cache.put(kind, written)
        copies = data.draw(st.integers(0, 2), "copies of the event")
        under_way += server.events[sent:] * copies
        if under_way and data.draw(st.booleans(), "one arrives"):
            deliver(cache, under_way.pop(data.draw(st.integers(0, len(under_way) - 1), "which")))
        match data.draw(st.sampled_from(["nothing", "list begins", "list ends"]), "list"):
            case "list begins":
                snapshot, snapshot_version = {kind: server.of(kind) for kind in KINDS}, server.version
            case "list ends":
                relist(cache, snapshot, snapshot_version)
    relist(cache, {kind: server.of(kind) for kind in KINDS}, server.version)
    for event in data.draw(st.permutations(under_way), "what is left arrives"):
        deliver(cache, event)

    known = {kind: list(cache.children(kind, "a", "small")) for kind in KINDS if kind != "Distillation"}
    truth = {
        kind: sorted(server.of(kind), key=lambda found: str(found["metadata"]["name"]))
        for kind in KINDS
        if kind != "Distillation"
    }
    assert known == truth
    assert sorted(cache.keys(None)) == sorted(("a", name) for kind, name in server.objects if kind == "Distillation")


@settings(max_examples=200, deadline=None)
@given(history=HISTORY, data=st.data())
def test_all_events_in_any_order_are_enough(history: list[tuple[str, str, str]], data: st.DataObject) -> None:
    cache, server = ObjectCache(), Server()
    for kind, name, what in history:
        server.write(kind, name) if what == "write" else server.delete(kind, name)
    for event in data.draw(st.permutations(server.events + server.events)):
        deliver(cache, event)

    assert len(cache) == len(server.objects)
    for (kind, name), found in server.objects.items():
        assert cache.get(kind, "a", name) == found
