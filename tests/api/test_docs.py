"""The pages name everything that a status can say, and link to what exists."""

import re
from pathlib import Path

import pytest
import yaml

from distillery_api.reasons import Reason
from distillery_api.status import ConditionType
from distillery_api.verdict import Remedy, VerdictKind

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "distillery" / "templates"
PACKAGES = [
    ROOT / "crds" / "distillery_api",
    ROOT / "operator" / "distillery_operator",
    ROOT / "trainer_image" / "distillery_trainer",
]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
STATUS = (ROOT / "docs" / "status.md").read_text()


def test_every_reason_is_explained():
    assert [reason for reason in Reason if f"`{reason}`" not in STATUS] == []


def test_every_condition_is_explained():
    assert [kind for kind in ConditionType if f"`{kind}`" not in STATUS] == []


@pytest.mark.parametrize(
    ("page", "words"),
    [("scores.md", VerdictKind), ("bad-students.md", VerdictKind), ("bad-students.md", Remedy)],
)
def test_every_verdict_and_every_next_step_is_explained(page, words):
    text = (ROOT / "docs" / page).read_text()
    assert [word for word in words if f"| `{word}` |" not in text] == []


def test_the_rights_of_the_operator_are_those_of_the_chart():
    assert sorted(documented_rights()) == sorted(chart_rights())


def documented_rights():
    """Resource and verb of each right in the table of docs/security.md."""
    page = (ROOT / "docs" / "security.md").read_text()
    table = page.partition("## The operator's rights")[2].partition("\n## ")[0]
    rules = [rule for row in re.findall(r"^\| (.*`.*?) \|", table, re.MULTILINE) for rule in row.split(";")]
    for rule in rules:
        names, _, verbs = rule.rpartition(": ")
        resource = re.findall(r"`([^`]+)`", names)[-1]
        yield from ((resource, verb.strip()) for verb in verbs.split(","))


def chart_rights():
    """Resource and verb of each right that the chart gives the operator."""
    rules = (CHART / "_helpers.tpl").read_text().partition('{{- define "distillery.rules" -}}')[2].partition("{{-")[0]
    lease = (CHART / "rbac.yaml").read_text().partition("# The lease for leader election.")[2].partition("---")[0]
    of_lease = re.sub(r"{{.*?}}", "x", lease.partition("rules:")[2])
    for rule in [*yaml.safe_load(rules), *yaml.safe_load(of_lease)]:
        yield from ((resource, verb) for resource in rule["resources"] for verb in rule["verbs"])


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.name)
def test_every_module_and_folder_of_a_package_stands_in_the_architecture(package):
    page = (ROOT / "docs" / "architecture.md").read_text()
    modules = {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert [name for name in sorted(modules | folders) if f"| `{name}`" not in page] == []


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
