"""A container's environment and command, as the kubelet makes them."""

from __future__ import annotations

import re

from process_node.image import Image
from process_node.kube_api import Object
from process_node.references import References


def resolve_environment(
    container: Object, image: Image, references: References, services: dict[str, str]
) -> dict[str, str]:
    """All variables of a container: the image's, the cluster's, envFrom, env. Raises ReferenceMissing."""
    values = {"HOME": "/", **image.environment, **services}
    for source in container.get("envFrom", []):
        values.update(_from_source(source, references))
    for entry in container.get("env", []):
        value = _value(entry, container, references, values)
        if value is not None:
            values[entry["name"]] = value
    return values


def resolve_command(container: Object, image: Image, environment: dict[str, str]) -> list[str]:
    """`command` replaces the image's entrypoint and its command, `args` the image's command."""
    command = container.get("command") or list(image.entrypoint)
    given = container.get("args")
    arguments = given if given is not None else ([] if container.get("command") else list(image.command))
    return [expand(word, environment) for word in [*command, *arguments]]


def expand(text: str, values: dict[str, str]) -> str:
    """Replace $(NAME) by its value; $$ stands for $, and an unknown name stays as it is."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return values.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)", replace, text)


def _from_source(source: Object, references: References) -> dict[str, str]:
    prefix = source.get("prefix", "")
    if "secretRef" in source:
        reference = source["secretRef"]
        entries = references.secret(reference["name"], bool(reference.get("optional")))
    else:
        reference = source["configMapRef"]
        entries = references.config_map(reference["name"], bool(reference.get("optional")))
    return {prefix + key: value.decode() for key, value in entries.items()}


def _value(entry: Object, container: Object, references: References, so_far: dict[str, str]) -> str | None:
    source = entry.get("valueFrom")
    if source is None:
        return expand(entry.get("value", ""), so_far)
    if "secretKeyRef" in source:
        return references.secret_key(source["secretKeyRef"])
    if "configMapKeyRef" in source:
        return references.config_map_key(source["configMapKeyRef"])
    if "fieldRef" in source:
        return references.field(source["fieldRef"]["fieldPath"])
    return references.resource(container, source["resourceFieldRef"])
