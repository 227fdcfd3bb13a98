"""The pages name everything that a status can say, and link to what exists."""

import re
from pathlib import Path

import pytest

from distillery_api.reasons import Reason
from distillery_api.status import ConditionType

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
STATUS = (ROOT / "docs" / "status.md").read_text()


def test_every_reason_is_explained():
    assert [reason for reason in Reason if f"`{reason}`" not in STATUS] == []


def test_every_condition_is_explained():
    assert [kind for kind in ConditionType if f"`{kind}`" not in STATUS] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in link]
    assert [link for link in links if not leads_somewhere(page, link)] == []


def leads_somewhere(page, link):
    """Whether a relative link names a file or folder that exists and, after `#`, one of its headings."""
    path, _, heading = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not heading or heading in anchors(target.read_text()))


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
