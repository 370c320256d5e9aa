"""What docs/sandbox.md and docs/guests.md show is run, and must print what they say."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from infrafabric_server.chassis.sandbox.compiler import CompileLimits
from infrafabric_server.chassis.sandbox.limits import Limits
from infrafabric_server.chassis.sandbox.outcome import ViolationKind
from infrafabric_server.chassis.sandbox.worker.layers import seccomp
from tests.harness.documents import ROOT, dead_links, try_out

pytestmark = pytest.mark.embedded

SANDBOX = (ROOT / "docs/sandbox.md").read_text()
GUESTS = (ROOT / "docs/guests.md").read_text()


@pytest.mark.parametrize("page", [SANDBOX, GUESTS], ids=["sandbox", "guests"])
def test_x1_the_commands_of_the_guide_print_what_it_says(page: str, tmp_path: Path) -> None:
    assert try_out(page, "console", tmp_path) > 3


def test_x2_the_guide_names_the_limits_as_they_are() -> None:
    limits, compiling = Limits(), CompileLimits()
    assert f"| `max_memory_mb` | {limits.max_memory_mb} |" in SANDBOX
    assert f"of one core | {limits.max_cpu_percent} |" in SANDBOX
    assert f"| `max_execution_time` | {limits.max_execution_time.seconds} s |" in SANDBOX
    assert limits.max_execution_time == timedelta(seconds=limits.max_execution_time.seconds)
    assert f"result and diagnostics | {limits.max_output_bytes >> 10} KiB |" in SANDBOX
    assert f"| `max_api_calls_per_second` | {limits.max_api_calls_per_second} |" in SANDBOX
    assert f"modules of {compiling.module_bytes >> 20} MiB" in SANDBOX
    assert f"{compiling.cpu_seconds} s of CPU time" in SANDBOX
    assert f"code of {compiling.code_bytes >> 20} MiB" in SANDBOX
    (allowed,) = re.findall(r"(\d+) system calls are allowed", SANDBOX)
    assert f"{allowed} system calls allowed" == seccomp.allowed()


def test_x2_the_guide_explains_every_violation() -> None:
    explained = re.findall(r"^\| `(\w+)` \|", SANDBOX.split("## Violations")[1], re.MULTILINE)
    assert explained == [str(kind) for kind in ViolationKind]


@pytest.mark.parametrize("page", [SANDBOX, GUESTS], ids=["sandbox", "guests"])
def test_x1_every_link_of_the_guide_leads_somewhere(page: str) -> None:
    assert dead_links(page, ROOT / "docs") == []
