from __future__ import annotations

from typing import Any

import pytest

from distillery_operator.core.drift import includes


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({"a": 1, "added": 2}, {"a": 1}),
        ({"a": {"b": [1, 2], "c": 3}}, {"a": {"b": [1, 2]}}),
        ({"cpu": "1"}, {"cpu": "1000m"}),
        ({"cpu": "500m"}, {"cpu": "0.5"}),
        ({"memory": "1Gi"}, {"memory": "1024Mi"}),
        ({"memory": "2G"}, {"memory": 2_000_000_000}),
        ({"nvidia.com/gpu": "1"}, {"nvidia.com/gpu": 1}),
        ({}, {"rules": [], "empty": {}, "off": False, "none": 0}),
        ([{"name": "stage", "added": 1}], [{"name": "stage"}]),
    ],
)
def test_what_the_server_adds_or_writes_otherwise_is_no_difference(seen: Any, expected: Any) -> None:
    assert includes(seen, expected)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({"a": 1}, {"a": 2}),
        ({}, {"a": 1}),
        ({"a": True}, {"a": False}),
        ({"memory": "1G"}, {"memory": "1Gi"}),
        ({"cpu": "1"}, {"cpu": "1m"}),
        ({"image": "trainer:1"}, {"image": "trainer:2"}),
        ([1, 2], [1]),
        ([1], [1, 2]),
        ({"a": "text"}, {"a": {"b": 1}}),
        ({"command": "ab"}, {"command": ["a", "b"]}),
    ],
)
def test_a_real_difference_is_seen(seen: Any, expected: Any) -> None:
    assert not includes(seen, expected)
