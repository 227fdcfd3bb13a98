"""Looks up the known vulnerabilities of everything in constraints-hashed.txt, with pip-audit.

Exit code 1 where there is one. Where the list of vulnerabilities cannot be reached, says so and exits with 0: a build
without internet access is no reason to stop.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CONSTRAINTS = Path(__file__).parents[1] / "constraints-hashed.txt"
COMMAND = (sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--format", "json")
TIMEOUT_SECONDS = 300


def main() -> int:
    """Print what was found, and return the exit code."""
    text, exit_code = summary(audit())
    print(text)
    return exit_code


def summary(report: list[dict[str, Any]]) -> tuple[str, int]:
    """What the report of pip-audit says, in words, and the exit code that follows from it."""
    checked = [each for each in report if "skip_reason" not in each]
    if not checked:
        return "No dependency was checked: the list of known vulnerabilities cannot be reached.", 0
    found = [_sentence(each, vulnerability) for each in checked for vulnerability in each["vulns"]]
    lines = [*found, f"{len(checked)} of {len(report)} dependencies checked, {len(found)} known vulnerabilities."]
    return "\n".join(lines), 1 if found else 0


def _sentence(dependency: dict[str, Any], vulnerability: dict[str, Any]) -> str:
    fixed = vulnerability["fix_versions"]
    remedy = f"upgrade to {' or '.join(fixed)}" if fixed else "no fix is known"
    return f"{dependency['name']} {dependency['version']}: {vulnerability['id']}; {remedy}"


def audit() -> list[dict[str, Any]]:
    """One entry per dependency; empty where pip-audit could not work."""
    try:
        result = subprocess.run(  # noqa: S603 - our own interpreter
            [*COMMAND, "--requirement", str(CONSTRAINTS)],
            capture_output=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
        report: list[dict[str, Any]] = json.loads(result.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError):
        return []
    return report


if __name__ == "__main__":
    sys.exit(main())
