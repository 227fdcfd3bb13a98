"""The contestant: the whole generate stage through its own entry point.

`python stage_client.py CONFIG` prints its seconds as JSON. As with the peer, the libraries are imported before the
clock starts.
"""

import json
import sys
import time

import distillery_trainer.generate  # noqa: F401 - imported here, so that the stage does not import it on the clock
from distillery_trainer.__main__ import main

if __name__ == "__main__":
    started = time.perf_counter()
    exit_code = main(["generate", "--config", sys.argv[1]])
    print(json.dumps({"seconds": time.perf_counter() - started}))
    sys.exit(exit_code)
