"""Sends the requests of the core's actions. What the API server refuses is noted, and keeps no other action back that
does not need it; it is not sent again before its back-off ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from distillery_api.reasons import Reason
from distillery_api.status import Refusal
from distillery_operator.cluster.client import RESOURCES, Cluster
from distillery_operator.cluster.object_cache import KINDS
from distillery_operator.controller.accepted_pods import AcceptedPods
from distillery_operator.controller.refusal_backoff import RefusalBackoff
from distillery_operator.core.actions import Action, Apply, Create, Delete, DryRun, Merge
from distillery_operator.core.refusals import (
    about,
    has_room_by_then,
    is_held_back,
    refusal,
    still_wanted,
    subject,
    with_refusal,
    without,
)
from distillery_operator.errors import AlreadyExists, ClusterError, Invalid, NotFound, Refused, Unreachable

Key = tuple[str, str]
"""Namespace and name of a Distillation."""

Manifest = dict[str, Any]
Refusals = tuple[Refusal, ...]


@dataclass(frozen=True)
class Outcome:
    """What has become of the actions."""

    sent: tuple[Action, ...]
    """The actions that succeeded, but for those that changed nothing."""
    refusals: Refusals
    """All that is refused now."""
    conflicting: Manifest | None = None
    """The existing object, where one has the name of a new one; the actions after that were not sent."""
    failure: Unreachable | None = None
    """Why an action is to be tried again as soon as the server answers."""
    found_gone: bool = False
    """Whether something that was to be changed or deleted did not exist any more, which no event has reported."""


class ActionRequests:
    """Carries out actions, and remembers when a refused one is due again."""

    def __init__(self, cluster: Cluster, backoff: RefusalBackoff | None = None) -> None:
        self._cluster, self._backoff = cluster, backoff or RefusalBackoff()
        self._accepted_pods = AcceptedPods()

    async def check(self, key: Key, actions: Sequence[Action], kept: Refusals) -> Refusals:
        """The refusals after the dry runs: those of `kept` whose actions are still wanted, and the first dry run that
        the server refuses. While that one is not due again, nothing is asked."""
        self._backoff.keep(key, map(subject, actions) if kept else ())
        kept = still_wanted(kept, actions)
        dry_runs = [action for action in actions if isinstance(action, DryRun)]
        if not all(self._backoff.is_due(key, subject(action)) for action in dry_runs):
            return kept
        refused = await self._first_refused(dry_runs)
        checked = {subject(action) for action in dry_runs}
        others = tuple(each for each in kept if about(each) not in checked)
        if refused is None:
            return others
        self._backoff.refused(key, about(refused))
        return with_refusal(others, refused)

    async def carry_out(self, key: Key, actions: Iterable[Action], refusals: Refusals) -> Outcome:
        """Carry out the actions in order, but for those that are refused and not due, or need one that is refused.

        One that the server does not answer keeps none back but those that need it; a second one ends the pass.
        """
        sent: list[Action] = []
        unanswered: dict[Refusal, Unreachable] = {}
        for action in actions:
            if not self.is_to_send(key, action, (*refusals, *unanswered)):
                continue
            before = self._version(key[0], action)
            error = await self._try(key[0], action)
            refusals = self._noted(key, action, error, refusals)
            if isinstance(error, AlreadyExists):
                return Outcome(tuple(sent), refusals, await self._existing_object(key[0], action, error))
            if isinstance(error, Unreachable):
                unanswered[refusal(action, error)] = error
            elif error is None and not (before and before == self._version(key[0], action)):
                # What the server has taken to its own form, or a webhook takes back, is not to be sent again at once.
                sent.append(action)
            if len(unanswered) > 1 or _asks_for_rest(error):
                break
        failure, found_gone = next(iter(unanswered.values()), None), self._found_gone(key[0], sent)
        return Outcome(tuple(sent), refusals, failure=failure, found_gone=found_gone)

    def _version(self, namespace: str, action: Action) -> int:
        """The version that is known of what is applied; 0 for all other actions."""
        if not isinstance(action, Apply) or action.manifest["kind"] not in KINDS:
            return 0
        return self._cluster.cache.version(action.manifest["kind"], namespace, action.manifest["metadata"]["name"])

    async def _try(self, namespace: str, action: Action) -> AlreadyExists | Refused | Unreachable | None:
        """Send an action; returns why it is not done."""
        try:
            await self._send(namespace, action)
        except (AlreadyExists, Refused, Unreachable) as error:
            return error
        return None

    def _noted(self, key: Key, action: Action, error: ClusterError | None, refusals: Refusals) -> Refusals:
        """What is refused after an action was sent."""
        if isinstance(error, Refused):
            self._backoff.refused(key, subject(action))
            return with_refusal(refusals, refusal(action, error))
        if error is not None:
            return refusals
        self._backoff.succeeded(key, subject(action))
        return without(refusals, action)

    def is_to_send(self, key: Key, action: Action, refusals: Refusals) -> bool:
        """Whether an action changes anything, and neither was refused lately nor needs what is refused."""
        if isinstance(action, DryRun) or is_held_back(action, refusals):
            return False
        return self._backoff.is_due(key, subject(action))

    def due_in(self, key: Key) -> float | None:
        """Seconds until a refused action is to be sent again; None where none is refused."""
        return self._backoff.next_due_in(key)

    def forget(self, key: Key) -> None:
        """The Distillation was deleted."""
        self._backoff.keep(key, ())

    async def _first_refused(self, dry_runs: Sequence[DryRun]) -> Refusal | None:
        """The first dry run that the server refuses. What is full now may have room when a later stage starts, so that
        counts for the first one only."""
        for number, action in enumerate(dry_runs):
            try:
                await self._check(action.manifest)
            except AlreadyExists:
                continue
            except Refused as error:
                refused = refusal(action, error)
                if has_room_by_then(action, error):
                    continue
                if number == 0 or refused.reason != Reason.QUEUED:
                    return refused
        return None

    async def _check(self, pod: Manifest) -> None:
        if pod not in self._accepted_pods:
            await self._cluster.check(pod)
            self._accepted_pods.accept(pod)

    async def _send(self, namespace: str, action: Action) -> None:
        match action:
            case Create() | Apply():
                await self._write(action)
            case Merge(kind, name, patch):
                await self._change(namespace, kind, name, patch)
            case Delete(kind, name):
                await self._cluster.delete(kind, namespace, name)
            case DryRun():
                """Was checked before anything was written."""

    async def _write(self, action: Create | Apply) -> None:
        """Create or apply. Where there is no place for it, as of a kind that the cluster does not have, it is refused
        like what is invalid."""
        write = self._cluster.create if isinstance(action, Create) else self._cluster.apply
        try:
            await write(action.manifest)
        except NotFound as error:
            raise Invalid(_why_unserved(action.manifest, error), status=error.status, reason=error.reason) from error

    async def _change(self, namespace: str, kind: str, name: str, patch: Manifest) -> None:
        """Change some fields; of an object that was deleted meanwhile, nothing is left to change."""
        try:
            await self._cluster.merge(kind, namespace, name, patch)
        except NotFound:
            return

    def _found_gone(self, namespace: str, sent: Iterable[Action]) -> bool:
        changed = (action for action in sent if isinstance(action, Merge | Delete) and action.kind in KINDS)
        return any(not self._cluster.cache.version(action.kind, namespace, action.name) for action in changed)

    async def _existing_object(self, namespace: str, action: Action, error: AlreadyExists) -> Manifest:
        """The object that has the name of a new one; raises the error where it is gone again."""
        if not isinstance(action, Create):
            raise error
        existing = await self._cluster.get(action.manifest["kind"], namespace, action.manifest["metadata"]["name"])
        if existing is None:
            raise error
        return existing


def _why_unserved(manifest: Manifest, error: NotFound) -> str:
    # Of a group that is not served, the server says nothing; of a kind in another group, this.
    if error.reason and "the server could not find the requested resource" not in str(error):
        return str(error)
    group_version, plural = RESOURCES[manifest["kind"]]
    return f"the cluster does not serve {plural} of {group_version}; install that API"


def _asks_for_rest(error: ClusterError | None) -> bool:
    return error is not None and error.status == HTTPStatus.TOO_MANY_REQUESTS and not isinstance(error, Refused)
