"""What a day costs by who gives the work: `python -m tests.benchmarks.economics --seeds 5`."""

import sys

from tests.benchmarks.economics.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
