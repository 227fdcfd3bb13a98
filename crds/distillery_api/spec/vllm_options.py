"""The options of `vllm serve`: `vllm_options.json`, which `tests/vllm` compares with vLLM's own parser."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

_KINDS = {
    "integer": r"[+-]?\d+",
    "number": r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?",
    "size": r"[+-]?\d+(\.\d+)?[kKmMgGtT]?i?",
    "size or auto": r"[+-]?\d+(\.\d+)?[kKmMgGtT]?i?|auto",
}


@dataclass(frozen=True)
class VllmOption:
    """One option."""

    flags: tuple[str, ...]
    values: str
    """How many values follow it: 0, 1, ? (one or none) or + (one or more)."""
    kind: str = "text"
    """What a value is: text, integer, number, size (such as 32k), size or auto, or json."""
    choices: tuple[str, ...] = ()
    """All values that it takes; empty if there are others."""

    @property
    def name(self) -> str:
        """The flag that it is known by."""
        return self.flags[0]

    @property
    def has_parts(self) -> bool:
        """Whether a part of its value may be given by itself, as in `--compilation-config.mode 3`."""
        return self.kind == "json" or self.name.endswith("-config")

    def takes(self, value: str) -> bool:
        """Whether `value` is one of its kind."""
        if self.choices:
            return value in self.choices
        if self.kind == "json":
            return _is_json(value)
        return self.kind == "text" or re.fullmatch(_KINDS[self.kind], value) is not None

    def expected(self) -> str:
        """What it takes, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        return {"json": "JSON", "integer": "an integer", "text": "a value"}.get(self.kind, f"a {self.kind}")


def _is_json(value: str) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def vllm_release() -> str:
    """The release of vLLM whose options these are, such as 0.32."""
    return ".".join(_content()["version"].split(".")[:2])


@cache
def vllm_options() -> Mapping[str, VllmOption]:
    """The options by each of their flags."""
    content = _content()
    options = [
        VllmOption(tuple(each["flags"]), each["values"], each.get("kind", "text"), tuple(each.get("choices", ())))
        for each in content["options"]
    ]
    return {flag: option for option in options for flag in option.flags}


@cache
def _content() -> Mapping[str, Any]:
    text = files("distillery_api.spec").joinpath("vllm_options.json").read_text(encoding="utf-8")
    content: Mapping[str, Any] = json.loads(text)
    return content
