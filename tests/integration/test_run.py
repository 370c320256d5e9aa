"""The main job: a fleet does a board under faults, and its evidence shows that all went well.

The work is simulated faster than `make run` does; the server, the fleet and the faults are
the same.
"""

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from demo.check.invariants import INVARIANTS

# The demonstration starts its own servers.
pytestmark = pytest.mark.embedded

ROOT = Path(__file__).parents[2]

# Starting a dozen programs takes longest, and the tests share the machine.
LIMIT_SECONDS = 55.0

# Inherited by every process of a run, so that those that outlive it can be found.
MARK = "INFRAFABRIC_TEST_RUN"


class Run:
    """One run of `python -m demo`, and what it printed so far."""

    def __init__(self, process: asyncio.subprocess.Process, mark: str) -> None:
        self.printed = ""
        self._process = process
        self._mark = mark

    async def line_with(self, text: str) -> str:
        """Return the first new line that has the text; fail when the run ends before."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.printed += line.decode()
            if text in line.decode():
                return line.decode()
        pytest.fail(f"the run ended without {text!r}:\n{self.printed}")

    async def end(self) -> int:
        """Return the exit status."""
        rest, _ = await self._process.communicate()
        self.printed += rest.decode()
        return await self._process.wait()

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    def leftovers(self) -> list[str]:
        """Return the command lines of this run's processes that live."""
        return [
            (path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            for path in Path("/proc").glob("[0-9]*/environ")
            if _readable(path) and f"{MARK}={self._mark}".encode() in path.read_bytes()
        ]


def _readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


@asynccontextmanager
async def run(
    folder: Path, *options: str, plant: str = "", limit: float = LIMIT_SECONDS
) -> AsyncIterator[Run]:
    mark = uuid.uuid4().hex
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "demo", "--run-dir", str(folder / "run"), *options),
        cwd=ROOT,
        env={**os.environ, "PLANT": plant, MARK: mark},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(limit):
            yield Run(process, mark)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()


FAST = ("--second-per-hour", "0.1")

# One that cannot go on is helped by two others, out of what its task may cost.
RESCUE = (
    "session-6-talent asks for help with R.1: nobody wrote down how the bus works",
    "did their part for 17.50 of 20.00 USD",
    "session-6-talent goes on with R.1",
)

# The fabric itself runs a module for a task.
BOXED = (
    "word-counter is loaded with words.wat, in a box",
    "B.1 done by word-counter",
    "word-counter counted 12 words",
)

# An agent fails three times and is stopped, a person lets it go on, and its money runs out.
TRIAL = (
    "apprentice is refused T.4: the circuit breaker of apprentice is open (failures)",
    "$ infrafabric breaker reset apprentice --approver Ada",
    "Ada is told: closed: apprentice",
    "T.4 done by apprentice",
    "apprentice is refused T.5: the claim asks for 2.00 USD",
)


async def test_a_fleet_does_the_board_under_faults(tmp_path: Path) -> None:
    """U6, C1, C9, C10, G4, G6, G7, W1: one process, no server to install; all promises hold."""
    async with run(tmp_path, *FAST, "--keep") as demo:
        line = await demo.line_with("stays up")
        for told in (
            "work is simulated: 1 h = 0.1 s",
            "session-4-sip was killed (SIGKILL)",
            "session-7-ifbus is blocked in",
            "session-3-h323 asks for help",
            "37 of 37, each exactly once",
            *TRIAL,
            *RESCUE,
            *BOXED,
            f"OK: all {len(INVARIANTS)} invariants hold",
        ):
            assert told in demo.printed
        http = line.split("http ")[1].split(";")[0]
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://{http}/status")).json()["total_agents"] >= 10
        demo.interrupt()
        assert await demo.end() == 0
        assert demo.leftovers() == []


@pytest.mark.timeout(2 * LIMIT_SECONDS + 10)
async def test_u6_a_fleet_does_the_board_on_three_servers_of_which_one_is_killed(
    tmp_path: Path,
) -> None:
    async with run(tmp_path, *FAST, "--cluster", limit=2 * LIMIT_SECONDS) as demo:
        assert await demo.end() == 0, demo.printed
        for told in (
            "sessions are spread over the servers: replica-1 ",
            "which leads the fabric, was killed (SIGKILL)",
            "all sessions went on at the others",
            "leads the fabric now",
            "session-4-sip was killed (SIGKILL)",
            "37 of 37, each exactly once",
            *TRIAL,
            *RESCUE,
            *BOXED,
            f"OK: all {len(INVARIANTS)} invariants hold",
        ):
            assert told in demo.printed
        assert demo.printed.count("\nverified: ") == 3
        assert demo.leftovers() == []


@pytest.mark.parametrize(
    ("plant", "invariant"),
    [
        ("double-claim", "one-owner-per-attempt"),
        ("lost-completion", "acknowledged-completion-is-in-the-witness-log"),
        ("broken-chain", "witness-chain"),
    ],
)
async def test_a_planted_fault_is_named(plant: str, invariant: str, tmp_path: Path) -> None:
    async with run(tmp_path, *FAST, plant=plant) as demo:
        assert await demo.end() == 1
        verdict = demo.printed[demo.printed.index("FAILED: broken invariant") :]
        assert invariant in verdict.splitlines()[0]


async def test_ctrl_c_leaves_nothing_running(tmp_path: Path) -> None:
    async with run(tmp_path) as demo:
        await demo.line_with("is blocked in")
        demo.interrupt()
        assert await demo.end() == 130
        assert demo.leftovers() == []


async def test_output_that_nobody_reads_any_more_ends_the_run(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "demo", "--run-dir", str(tmp_path / "run"), *FAST),
        cwd=ROOT,
        stdout=writer,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writer)
    assert await asyncio.to_thread(os.read, reader, 1)
    os.close(reader)
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 1
    assert said.startswith(b"FAILED: nobody reads the output any more\n")
    assert b"Traceback" not in said


async def test_an_unknown_fault_is_refused(tmp_path: Path) -> None:
    async with run(tmp_path, plant="gremlins") as demo:
        assert await demo.end() == 2
        assert "PLANT must be one of double-claim, lost-completion, broken-chain" in demo.printed
        assert not (tmp_path / "run").exists()
