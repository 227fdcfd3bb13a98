"""`python -m distillery_trainer.missing_libraries`: print which libraries of the stages are not installed.

It loads neither these libraries nor anything else that may be missing, so it is fast and works on every installation.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.util import find_spec

LIBRARIES = ("torch", "transformers", "peft", "trl")


def missing(libraries: Iterable[str] = LIBRARIES) -> list[str]:
    """The libraries that this interpreter cannot find."""
    return [name for name in libraries if find_spec(name) is None]


if __name__ == "__main__":
    sys.stdout.writelines(f"{name}\n" for name in missing())
