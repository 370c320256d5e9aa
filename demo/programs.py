"""The command lines of the fleet's processes."""

import shlex
import sys
from pathlib import Path

from demo.journal import journal_path
from demo.member import Member
from demo.plan import BOARD_FILE, FOLDER, Board, Runs, SessionPlan
from demo.processes import RunFailedError
from infrafabric.money import MICROS_PER_USD

ROOT = FOLDER.parent
INFRAFABRIC = Path(sys.executable).parent / "infrafabric"
_TYPESCRIPT = ROOT / "clients" / "typescript" / "dist" / "cli" / "main.js"


def module(name: str, member: Member) -> list[str | Path]:
    """Return the command of a Python process of the fleet."""
    return [sys.executable, "-m", f"demo.{name}", *member.arguments()]


def session(plan: SessionPlan, member: Member) -> list[str | Path]:
    """Return the command of a session of the fleet."""
    match plan.runs:
        case Runs.PYTHON:
            return module("agent", member)
        case Runs.SHELL:
            return ["/bin/sh", FOLDER / "agent.sh"]
        case Runs.TYPESCRIPT:
            return _typescript(plan, member)


def environment(plan: SessionPlan, member: Member, http: str) -> dict[str, str]:
    """Return what a session is told by its environment: only the shell script is."""
    if plan.runs is not Runs.SHELL:
        return {}
    return {
        "SESSION_ID": plan.id,
        "CAPABILITIES": ",".join(plan.capabilities),
        "IFNOTIFY_URL": f"http://{http}",
        "INFRAFABRIC": str(INFRAFABRIC),
        "INFRAFABRIC_SERVER": member.server,
        "TASKS": " ".join(
            f"{task.id}={task.hours}"
            for task in Board.read(BOARD_FILE).tasks
            if task.dispatch == "manual"
        ),
        "JOURNAL": str(journal_path(member.folder, plan.id)),
        "SECOND_PER_HOUR": str(member.second_per_hour),
        "COST_PER_HOUR": str(plan.cost_per_hour),
    }


def _typescript(plan: SessionPlan, member: Member) -> list[str | Path]:
    if not _TYPESCRIPT.exists():
        raise RunFailedError(f"{_TYPESCRIPT} is not built yet: start the run with `make run`")
    work = [sys.executable, "-m", "demo.work", str(member.second_per_hour)]
    return [
        *("node", _TYPESCRIPT, "session", "--json"),
        *("--url", member.server),
        *("--swarm", plan.id),
        *("--capabilities", ",".join(plan.capabilities)),
        *("--model", plan.model),
        *("--cost-per-hour-micros", str(plan.cost_per_hour * MICROS_PER_USD)),
        *("--exec", shlex.join(work)),
    ]
