"""Run the demonstration: `python -m demo`, or `make run`; on several servers, `make cluster`.

Exit status: 0 when every invariant holds, 1 when one is broken (it is named) or the run failed,
2 for wrong use, 130 when it was interrupted.
"""

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from demo.launch import Options, launch
from demo.plants import Plant
from demo.processes import RunFailedError

INTERRUPTED = 130

_LEAST, _MOST = 0.05, 60.0


def main() -> int:
    """Run the demonstration and return the exit status."""
    options = _options()
    try:
        return asyncio.run(_until_terminated(options))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interrupted; every process was ended", file=sys.stderr)
        return INTERRUPTED
    except RunFailedError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1


async def _until_terminated(options: Options) -> int:
    run = asyncio.current_task()
    assert run is not None
    # What started this program may end it politely too; Ctrl-C cancels by itself.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, run.cancel)
    return await launch(options)


def _options() -> Options:
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Seven sessions and three spares do the Phase 0 board. Work is simulated: it "
        "only takes its time. Everything else is real.",
        epilog=f"PLANT={'|'.join(Plant)} in the environment plants a fault that the summary has "
        "to find.",
    )
    parser.add_argument(
        "--second-per-hour",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help=f"how long an hour of simulated work takes, {_LEAST} to {_MOST:g} (default 1)",
    )
    parser.add_argument(
        "--cluster",
        action="store_true",
        help="three servers on three members of etcd and a NATS; the one that leads is killed",
    )
    parser.add_argument("--keep", action="store_true", help="keep the server up until Ctrl-C")
    parser.add_argument("--plain", action="store_true", help="plain lines, in a terminal too")
    parser.add_argument(
        "--run-dir", type=Path, help="new folder for the evidence (default runs/TIME)"
    )
    told = parser.parse_args()
    planted = os.environ.get("PLANT", "")
    if planted and planted not in list(Plant):
        parser.error(f"PLANT must be one of {', '.join(Plant)}, not {planted}")
    return Options(
        second_per_hour=told.second_per_hour,
        keep=told.keep,
        cluster=told.cluster,
        plain=told.plain,
        folder=told.run_dir,
        plant=Plant(planted) if planted else None,
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not _LEAST <= value <= _MOST:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, {_LEAST} to {_MOST:g}")
    return value


if __name__ == "__main__":
    sys.exit(main())
