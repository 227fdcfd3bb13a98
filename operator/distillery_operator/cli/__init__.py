"""The command line: `distillery run|estimate|export|serve|validate|plan`. The only place that imports typer and rich.

It loads neither torch nor a cluster client, so that `--help` and "nothing is left to do" take a moment.
"""

from __future__ import annotations

from distillery_operator.cli.app import main

__all__ = ["main"]
