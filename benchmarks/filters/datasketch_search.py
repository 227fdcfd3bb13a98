"""The peer as its documentation has it: a MinHash a text, looked up among the earlier ones and put beside them."""

import json
import sys
import time
from pathlib import Path

from datasketch import MinHash, MinHashLSH

started = time.perf_counter()
index = MinHashLSH(threshold=0.8, num_perm=128)
found = []
with Path(sys.argv[1]).open() as texts:
    for row, text in enumerate(texts):
        words = text.casefold().split()
        sketch = MinHash(num_perm=128)
        sketch.update_batch([" ".join(phrase).encode() for phrase in zip(words, words[1:], words[2:], strict=False)])
        if index.query(sketch):
            found.append(row)
        index.insert(row, sketch, check_duplication=False)
seconds = time.perf_counter() - started
json.dump({"seconds": seconds, "found": found}, sys.stdout)
