"""What a user says about the generated container, in `resources` and `podTemplate`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from distillery_api.spec import StageOptions
from distillery_operator.manifests.pod_template_merge import merged_map
from distillery_operator.manifests.quantities import amount
from distillery_operator.planning.names import STAGE_CONTAINER

Fields = Mapping[str, Any]


def container_resources(options: StageOptions, requests: Mapping[str, str], memory_limit: str | None) -> dict[str, Any]:
    """The user's resources, and the default `requests` and `memory_limit` of each resource that the user says nothing
    about: whoever limits a GPU alone still gets requests of CPU and memory.

    Where the user gives only a limit of a resource, Kubernetes requests as much as that.
    """
    defaults: dict[str, Any] = {
        "requests": {name: each for name, each in requests.items() if not _mentions(options, name)}
    }
    if memory_limit is not None and not _mentions(options, "memory"):
        defaults["limits"] = {"memory": memory_limit}
    given = options.resources.to_manifest() if options.resources else {}
    return {kind: each for kind, each in merged_map(defaults, given).items() if each}


def _mentions(options: StageOptions, name: str) -> bool:
    """Whether the user requests a resource, or limits it."""
    given = _given(options)
    return any(name in _fields(given, kind) for kind in ("requests", "limits"))


def has_accelerator(options: StageOptions) -> bool:
    """Whether the container asks for a GPU or another device: such resources have a domain, as nvidia.com/gpu does, or
    are claims."""
    return bool(_given(options).get("claims")) or bool(devices(options))


def devices(options: StageOptions) -> tuple[str, ...]:
    """The names of the devices that the container asks for, such as nvidia.com/gpu."""
    given = _given(options)
    resources = {**_fields(given, "requests"), **_fields(given, "limits")}
    return tuple(name for name, value in resources.items() if "/" in name and amount(value))


def device_count(options: StageOptions) -> int:
    """Number of devices that the container asks for; 0 where it asks for them by claims."""
    given = _given(options)
    amounts = {**_fields(given, "requests"), **_fields(given, "limits")}
    return sum(int(amount(amounts[name]) or 0) for name in devices(options))


def memory(options: StageOptions) -> int | None:
    """Bytes of memory: the limit, else the request; None without either."""
    given = _quantity(options, "limits", "memory") or _quantity(options, "requests", "memory")
    return int(given) if given else None


def processors(options: StageOptions) -> int | None:
    """The limit of processors, rounded up; None without one."""
    limit = _quantity(options, "limits", "cpu")
    return math.ceil(limit) if limit else None


def grace_seconds(options: StageOptions, default: int) -> int:
    """Seconds from the request to stop the Pod to its end."""
    return _seconds(_user_pod_spec(options).get("terminationGracePeriodSeconds"), default)


def pre_stop_seconds(options: StageOptions, default: int) -> int:
    """Seconds that the container sleeps before it is told to stop."""
    pre_stop = _fields(_fields(_user_container(options), "lifecycle"), "preStop")
    return _seconds(_fields(pre_stop, "sleep").get("seconds"), default)


def _seconds(value: Any, default: int) -> int:
    return value if isinstance(value, int) else default


def _quantity(options: StageOptions, kind: str, name: str) -> Decimal | None:
    return amount(_fields(_given(options), kind).get(name))


def _given(options: StageOptions) -> Fields:
    resources = options.resources.to_manifest() if options.resources else {}
    return merged_map(resources, _fields(_user_container(options), "resources"))


def _user_container(options: StageOptions) -> Fields:
    containers = _user_pod_spec(options).get("containers", [])
    return next((each for each in containers if each["name"] == STAGE_CONTAINER), {})


def _user_pod_spec(options: StageOptions) -> Fields:
    template = options.pod_template.to_manifest() if options.pod_template else {}
    return _fields(template, "spec")


def _fields(value: Fields, name: str) -> Fields:
    """A field that holds fields; the parts of a Pod template that we do not know are not checked before."""
    found = value.get(name)
    return found if isinstance(found, Mapping) else {}
