"""The command line: `distillery run|estimate|prompts|export|serve|validate|plan`. The only place that imports typer
and rich.

It loads neither torch nor a cluster client, so that `--help` and a run with nothing left to do are quick.
"""

from __future__ import annotations

from distillery_operator.cli.app import main

__all__ = ["main"]
