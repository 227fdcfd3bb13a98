"""An image for the process node whose stages play a script instead of working, so that a run takes seconds.

What the operator sees of it is what it sees of the real trainer: exit codes, termination messages, `result.json`,
`/metrics`, and a server of the student, by either runtime. The script comes through the user's own `podTemplate`, as an
environment variable.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from process_node.image import SYSTEM_PATH, Image

FOLDER = Path(__file__).parent / "scripted_trainer"
STAGES = {"generate": "generation", "train": "training", "evaluate": "evaluation", "verify": "evaluation"}

Script = dict[str, list[dict[str, Any]]]


def scripted_image() -> Image:
    """The image; `distillery_trainer` in it is scripted."""
    base = Path(sys.base_prefix)
    return Image(
        folders=(base, FOLDER),
        environment={
            "PATH": f"{base / 'bin'}:{FOLDER / 'bin'}:{SYSTEM_PATH}",
            "PYTHONPATH": str(FOLDER),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )


def with_script(spec: dict[str, Any], script: Script) -> dict[str, Any]:
    """`spec` with the script given to each stage that it names; see scripted_trainer for what it may say."""
    variable = {"name": "SCRIPT", "value": json.dumps(script)}
    template = {"spec": {"containers": [{"name": "stage", "env": [variable]}]}}
    options = {STAGES[stage]: {**spec.get(STAGES[stage], {}), "podTemplate": template} for stage in script}
    return {**spec, **options}
