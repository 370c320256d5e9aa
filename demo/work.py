"""Simulated work for a session that runs a command for each task: it only takes its time.

`python -m demo.work SECOND_PER_HOUR`, with the task in the environment, as `infrafabric-ts`
puts it there. Progress goes to standard error, the result to standard output.
"""

import json
import os
import sys
import time

from demo.plan import BOARD_FILE, MILESTONES, Board


def main() -> None:
    """Do the task that the environment names."""
    hours = Board.read(BOARD_FILE).task(os.environ["IFC_TASK_ID"]).hours
    for percent in MILESTONES:
        time.sleep(hours * float(sys.argv[1]) / len(MILESTONES))
        print(f"::progress {percent}", file=sys.stderr, flush=True)
    print(json.dumps({"simulated_hours": hours}))


if __name__ == "__main__":
    main()
