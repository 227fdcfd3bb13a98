from pathlib import Path

from distillery_api.reasons import Reason
from distillery_api.status import ConditionType

PAGE = (Path(__file__).parents[2] / "docs" / "status.md").read_text()


def test_every_reason_is_explained():
    assert [reason for reason in Reason if f"`{reason}`" not in PAGE] == []


def test_every_condition_is_explained():
    assert [kind for kind in ConditionType if f"`{kind}`" not in PAGE] == []
