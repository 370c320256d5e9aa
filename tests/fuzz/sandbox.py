"""What nobody means, thrown at both sides of the sandbox's protocol and at what guests may call.

    python -m tests.fuzz.sandbox --seconds 600 --seed 1

Every round draws from a seed of its own, so that one which finds something is run again alone:
`--seed S --first ROUND`. Nothing may end in an error that has no name, and nothing may hang.
"""

import argparse
import asyncio
import faulthandler
import os
import sys
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from random import Random

import uvloop

from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.warm_module import WarmModule
from tests.benchmarks.measuring import resident_kib
from tests.fuzz import puppet
from tests.fuzz.processes import leave_a_service, obey, start_a_liar
from tests.fuzz.wire import hear_a_service, hear_a_worker, read_a_document
from tests.integration.guests import workers
from tests.integration.sandbox import Box

_LIMITS = Limits(
    max_memory_mb=16,
    # A request is finite: whoever takes longer hangs.
    max_execution_time=timedelta(seconds=30),
    max_output_bytes=100_000,
    max_api_calls_per_second=1_000,
)
_FRAMES, _GUESTS = 40, 20
# A round takes less than a second on a free machine.
_ROUND_SECONDS = 120.0
_GROWTH_KIB = 50 << 10


async def fuzz(seconds: float, seed: int, folder: Path, first: int = 0) -> Counter[str]:
    """Go on for some seconds, or for two rounds at least; return how often each end was seen.

    Args:
        seconds: after which no round begins.
        seed: of all that is drawn.
        folder: of compiled modules.
        first: the round to begin with.

    Raises:
        AssertionError: something ended as it must not.
    """
    box = Box(folder)
    puppets = [
        await box.warm(source, _LIMITS)
        for source in (puppet.command(), *map(puppet.core, puppet.ALLOCATIONS))
    ]
    seen: Counter[str] = Counter()
    number, end, before = first, time.monotonic() + seconds, 0
    try:
        while number < first + 2 or time.monotonic() < end:
            faulthandler.dump_traceback_later(_ROUND_SECONDS, exit=True)
            try:
                seen += await _round(Random(f"{seed} {number}"), box, puppets)
            except Exception as error:
                raise AssertionError(f"round {number} of seed {seed}") from error
            number += 1
            # Not the first: it imports, and fills caches.
            before = before or resident_kib(os.getpid())
    finally:
        faulthandler.cancel_dump_traceback_later()
        for warm in puppets:
            await warm.close()
    seen["rounds"] = number - first
    left = workers(os.getpid())
    assert not left, f"workers that nobody ended: {left}"
    grown = resident_kib(os.getpid()) - before
    assert grown < _GROWTH_KIB, f"grown by {grown} KiB"
    return seen


async def _round(random: Random, box: Box, puppets: list[WarmModule]) -> Counter[str]:
    seen: Counter[str] = Counter()
    module = puppets[0].module
    for _ in range(_FRAMES):
        seen[await hear_a_worker(random)] += 1
        seen[hear_a_service(random)] += 1
        seen[read_a_document(random)] += 1
    for _ in range(_GUESTS):
        seen[await obey(random, puppets)] += 1
    seen[await start_a_liar(random, module, box.share)] += 1
    seen[leave_a_service(random, module.path)] += 1
    return seen


def main() -> int:
    """Run it, and print how often each end was seen."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.sandbox")
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn")
    parser.add_argument("--first", type=int, default=0, help="the round to begin with")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        modules = Path(folder) / "modules"
        seen = runner.run(fuzz(options.seconds, options.seed, modules, options.first))
    for end, count in sorted(seen.items()):
        print(f"{count:9}  {end}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
