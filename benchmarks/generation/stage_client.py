"""The client: the whole generate stage through its own entry point.

`python stage_client.py CONFIG` prints its seconds and rows as JSON. As with the peers, the libraries are imported
before the clock starts.
"""

import json
import sys
import time
from pathlib import Path

import distillery_trainer.generate  # noqa: F401 - imported here, so that the stage does not import it on the clock

from distillery_trainer.__main__ import main

if __name__ == "__main__":
    started = time.perf_counter()
    exit_code = main(["generate", "--config", sys.argv[1]])
    seconds = time.perf_counter() - started
    if exit_code:
        sys.exit(exit_code)
    config = json.loads(Path(sys.argv[1]).read_text())
    result = json.loads((Path(config["workspace"]) / config["folder"] / "result.json").read_text())
    print(json.dumps({"seconds": seconds, "rows": result["rows"]["kept"]}))
