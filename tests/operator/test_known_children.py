"""An object that has the name of a new one takes its place among the children, whoever's it is."""

from __future__ import annotations

from typing import Any

import pytest

from distillery_operator.controller.known_children import with_child
from distillery_operator.core.observation import Children


def named(kind: str, name: str, **fields: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}, **fields}


@pytest.mark.parametrize(("kind", "field"), [("Job", "jobs"), ("ConfigMap", "config_maps")])
def test_one_of_several_is_replaced_by_its_name(kind: str, field: str) -> None:
    before = Children(**{field: (named(kind, "a"), named(kind, "b"))})
    theirs = named(kind, "a", data={"x": "y"})
    assert getattr(with_child(before, theirs), field) == (named(kind, "b"), theirs)
