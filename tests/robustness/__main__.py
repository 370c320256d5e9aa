"""Traffic and faults from a seed, judged: `python -m tests.robustness --seconds 60`.

Exit status: 0 without a violation, 1 with one, 2 when the arguments make no run.
"""

import argparse
import asyncio
import logging
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.robustness.check import judge
from tests.robustness.evidence import read
from tests.robustness.report import lines
from tests.robustness.run import SETUPS, Plan, UnknownFaultError, planned, run


def main() -> int:
    """Run, judge, report; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.robustness", description=__doc__)
    parser.add_argument(
        "--setup",
        default="embedded,distributed",
        help=f"one or several, with commas, one after the other: {', '.join(SETUPS)}",
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="that the traffic lasts")
    parser.add_argument("--seed", type=int, default=None, help="of all chance; default: a new one")
    parser.add_argument("--faults", help="some of them, with commas, or none; default: all")
    parser.add_argument("--folder", type=Path, help="keep the evidence here (a new folder)")
    parser.add_argument("--judge", type=Path, help="run nothing: judge the evidence of this folder")
    options = parser.parse_args()
    if options.judge:
        return _verdict(planned(options.judge), options.judge)
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    names = None if options.faults is None else tuple(options.faults.split(","))
    faults = () if names == ("none",) else names
    setups = options.setup.split(",")
    if unknown := sorted({*setups} - {*SETUPS}):
        parser.error(f"there is no set-up {unknown[0]}; there are {', '.join(SETUPS)}")
    plans = [Plan(setup, options.seconds, seed, faults) for setup in setups]
    # Cut sessions are what this is about: they are in the history.
    logging.getLogger("infrafabric").setLevel(logging.ERROR)
    try:
        return max([_run(plan, options.folder) for plan in plans])
    except UnknownFaultError as error:
        print(f"tests.robustness: {error}", file=sys.stderr)
        return 2


def _run(plan: Plan, keep: Path | None) -> int:
    folder = keep / plan.setup if keep else Path(tempfile.mkdtemp(prefix="robustness-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{plan.setup}, seed {plan.seed}: evidence in {folder}", flush=True)
    asyncio.run(run(plan, folder))
    status = _verdict(plan, folder)
    if not (status or keep):
        shutil.rmtree(folder)
    return status


def _verdict(plan: Plan, folder: Path) -> int:
    evidence = read(folder)
    violations = judge(evidence)
    for line in lines(plan, evidence, violations):
        print(line, flush=True)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
