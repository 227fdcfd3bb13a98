"""The versions that are installed, the hashes of their files, and what is known about them."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def load_audit():
    specification = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def pins(file):
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    found = (re.match(r"([A-Za-z0-9._-]+)==([^ ]+)", line) for line in lines)
    return {(re.sub("[-_.]+", "-", pin[1]).lower(), pin[2]) for pin in found if pin}


def test_every_version_has_hashes():
    """After a changed pin, `make constraints` writes the hashes anew."""
    assert pins("constraints.txt") == pins("constraints-hashed.txt")


def test_every_pinned_version_has_at_least_one_hash():
    text = (ROOT / "constraints-hashed.txt").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[A-Za-z])", text)[1:]
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("image", ["operator/Dockerfile", "trainer_image/Dockerfile"])
def test_images_are_built_from_hashed_files_only(image):
    installs = re.findall(r"pip install (?!--no-deps).*", (ROOT / image).read_text(encoding="utf-8"))
    assert installs
    assert all(install.startswith("pip install --require-hashes ") for install in installs)


VULNERABLE = {"name": "a", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1", "2.0"]}]}
UNFIXED = {"name": "b", "version": "2", "vulns": [{"id": "CVE-2", "fix_versions": []}]}
SOUND = {"name": "c", "version": "3", "vulns": []}
UNCHECKED = {"name": "d", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("report", "text", "exit_code"),
    [
        ([], "No dependency was checked: the list of known vulnerabilities cannot be reached.", 0),
        ([UNCHECKED], "No dependency was checked: the list of known vulnerabilities cannot be reached.", 0),
        ([SOUND, UNCHECKED], "1 of 2 dependencies checked, 0 known vulnerabilities.", 0),
        (
            [SOUND, VULNERABLE, UNFIXED],
            "a 1.0: CVE-1; upgrade to 1.1 or 2.0\n"
            "b 2: CVE-2; no fix is known\n"
            "3 of 3 dependencies checked, 2 known vulnerabilities.",
            1,
        ),
    ],
)
def test_known_vulnerability_fails_the_audit_and_an_unreachable_list_does_not(report, text, exit_code):
    assert load_audit().summary(report) == (text, exit_code)
