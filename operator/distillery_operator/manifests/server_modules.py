"""Python modules of ours in a server's Pod whose image does not have them.

Their sources are annotations of the Pod, and a volume shows these as files: so they belong to the Pod template, with
its digest and its drift repair, and no further object can be missing.
"""

from __future__ import annotations

from collections.abc import Mapping

from distillery_operator.manifests.child_metadata import Manifest
from distillery_operator.planning import names

_VOLUME = "modules"
_FOLDER = "/etc/distillery"


def module_annotations(modules: Mapping[str, str]) -> dict[str, str]:
    """The sources, by the names of their annotations."""
    return {_annotation(name): source for name, source in modules.items()}


def module_volumes(modules: Mapping[str, str]) -> tuple[Manifest, ...]:
    """The volume that has a file for each module."""
    files = [
        {"path": f"{name}.py", "fieldRef": {"fieldPath": f"metadata.annotations['{_annotation(name)}']"}}
        for name in modules
    ]
    return ({"name": _VOLUME, "downwardAPI": {"items": files}},) if files else ()


def module_mounts(modules: Mapping[str, str]) -> tuple[Manifest, ...]:
    """Where the container finds them."""
    return ({"name": _VOLUME, "mountPath": _FOLDER, "readOnly": True},) if modules else ()


def module_environment(modules: Mapping[str, str]) -> dict[str, str]:
    """The variable by which Python finds them."""
    return {"PYTHONPATH": _FOLDER} if modules else {}


def _annotation(name: str) -> str:
    return f"{names.MODULE_ANNOTATION_PREFIX}{name}"
