"""Remembers which Pods the API server has accepted in a dry run, so that it is not asked about the same Pod again.

Pods that differ only in the names of what belongs to one Distillation are the same here: whether one is valid, and
allowed by the policies of its namespace, does not depend on them. A verdict counts for some minutes, since policies
change; what was accepted wrongly is refused when it is created.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable
from time import monotonic
from typing import Any

from distillery_operator.planning import names

Manifest = dict[str, Any]

VERDICT_SECONDS = 600.0
MOST_VERDICTS = 10_000


class AcceptedPods:
    """The Pods that were accepted lately."""

    def __init__(self) -> None:
        self._accepted: OrderedDict[bytes, float] = OrderedDict()

    def accept(self, pod: Manifest) -> None:
        """Note that the server would accept this Pod."""
        self._accepted[_identity(pod)] = monotonic()
        self._accepted.move_to_end(_identity(pod))
        if len(self._accepted) > MOST_VERDICTS:
            self._accepted.popitem(last=False)

    def __contains__(self, pod: Manifest) -> bool:
        accepted_at = self._accepted.get(_identity(pod), float("-inf"))
        return monotonic() - accepted_at < VERDICT_SECONDS


def _identity(pod: Manifest) -> bytes:
    """A digest of a Pod without the names of what belongs to its Distillation."""
    namespace, text = pod["metadata"]["namespace"], json.dumps(pod.get("spec"), sort_keys=True)
    labels = {key: value for key, value in (pod["metadata"].get("labels") or {}).items() if key not in _OWN_LABELS}
    annotations = pod["metadata"].get("annotations")
    for name in sorted(_own_names(pod), key=len, reverse=True):
        for before, after in _AROUND:
            text = text.replace(f"{before}{name}{after}", f"{before}*{after}")
    return hashlib.sha256(json.dumps([namespace, labels, annotations, text], sort_keys=True).encode()).digest()


_AROUND = (('"', '"'), ("=", '"'), ("/", '"'), ("/", "/"))
"""What stands around a name where it is a value of its own, that of an option, or a part of a path."""
_OWN_LABELS = (names.NAME_LABEL, names.INSTANCE_LABEL, names.HASH_LABEL, names.SERVER_LABEL)


def _own_names(pod: Manifest) -> Iterable[str]:
    """The names of the Distillation, its base model, its ConfigMap and its claim."""
    owner = (pod["metadata"].get("labels") or {}).get(names.NAME_LABEL)
    if not owner:
        return ()
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    claims = ((volume.get("persistentVolumeClaim") or {}).get("claimName", "") for volume in volumes)
    maps = ((volume.get("configMap") or {}).get("name", "") for volume in volumes)
    return {owner, names.base_model_name(owner), *(name for name in (*claims, *maps) if name.startswith(f"{owner}-"))}
