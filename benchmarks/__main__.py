"""`python -m benchmarks`: all benchmarks, one after the other. Most print this project beside a peer."""

import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Run the benchmark of every folder that has one."""
    for program in sorted(Path(__file__).parent.glob("*/__main__.py")):
        print(f"\n# {program.parent.name}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{program.parent.name}"], check=True)


if __name__ == "__main__":
    main()
