"""Judge a run: `python -m demo.check RUN_DIR`.

Exit status: 0 when every invariant holds, 1 when one is broken, 2 when there is no evidence.
"""

import argparse
import sys
from pathlib import Path

from demo.check.evidence import EvidenceError, read
from demo.check.invariants import judge
from demo.check.summary import lines, summarize


def main() -> int:
    """Print the summary of a run and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo.check", description=__doc__)
    parser.add_argument("run_dir", type=Path, help="folder that `make run` left behind")
    try:
        evidence = read(parser.parse_args().run_dir)
    except EvidenceError as error:
        print(f"demo.check: {error}", file=sys.stderr)
        return 2
    findings = judge(evidence)
    for line in lines(evidence, summarize(evidence), findings):
        print(line)
    return 1 if any(finding.violations for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
