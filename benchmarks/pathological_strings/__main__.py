"""The longest time that each parser takes for a string of 64 KB made to slow it down.

python -m benchmarks.pathological_strings    the table of docs/results.md
"""

import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support")]

from pathological_strings import PARSERS, STRINGS


def seconds(parser: str, string: str) -> float:
    PARSERS[parser]("x")  # loads its library
    started = time.process_time()
    PARSERS[parser](STRINGS[string])
    return time.process_time() - started


def main() -> None:
    print("| parser | worst time | string |")
    print("|---|---|---|")
    for parser in PARSERS:
        worst, string = max((seconds(parser, string), string) for string in STRINGS)
        print(f"| {parser} | {worst:.2f} s | {string} |", flush=True)


if __name__ == "__main__":
    main()
