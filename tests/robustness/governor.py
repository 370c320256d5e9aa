"""What the governor shows at the end of a run: money, breakers, help, escalations."""

from dataclasses import asdict
from typing import Any

from infrafabric import Client
from infrafabric.v1.breaker_pb2 import BREAKER_STATE_OPEN
from infrafabric.v1.budget_pb2 import BudgetReport
from infrafabric.v1.escalation_pb2 import EscalationState
from infrafabric.v1.governor_budget_pb2 import COST_DIMENSION_SWARM, GetCostReportRequest
from infrafabric.v1.help_pb2 import HELP_STATE_ENDED
from tests.robustness.evidence import FABRIC, FinalAccount

# What lasts when a run is over, and with it its escalations.
LASTING = ("policy:",)


async def settled(client: Client) -> bool:
    """Tell whether all that somebody had to close, or that ends with a claim, is over."""
    found = await state(client)
    open_ones = (
        name
        for name, (how, _) in found["escalations"].items()
        if how != "CLOSED" and not name.startswith(LASTING)
    )
    return not found["open_breakers"] and all(found["help"].values()) and not any(open_ones)


async def state(client: Client) -> dict[str, Any]:
    """Return it as it is written into the evidence; see `Evidence`."""
    return {
        "accounts": {
            _name(report): asdict(_account(report)) async for report in client.budgets.list()
        },
        "reported": await _reported(client),
        "open_breakers": [
            breaker.swarm_id
            async for page in client.breakers.pages(BREAKER_STATE_OPEN)
            for breaker in page.breakers
        ],
        "help": {each.help_id: each.state == HELP_STATE_ENDED async for each in client.help.list()},
        "escalations": {
            each.escalation_id: (
                EscalationState.Name(each.state).removeprefix("ESCALATION_STATE_"),
                each.level,
            )
            async for each in client.escalations.list()
        },
    }


def _name(report: BudgetReport) -> str:
    return FABRIC if report.fabric else f"swarm/{report.swarm_id}"


def _account(report: BudgetReport) -> FinalAccount:
    limit = report.limit_micros if report.HasField("limit_micros") else None
    return FinalAccount(report.total_micros, report.reserved_micros, limit)


async def _reported(client: Client) -> dict[str, int]:
    question = GetCostReportRequest(group_by=[COST_DIMENSION_SWARM])
    found: dict[str, int] = {}
    async for page in client.costs.report(question):
        found |= {f"swarm/{row.swarm_id}": row.cost_micros for row in page.rows}
        found[FABRIC] = page.total.cost_micros
    return found
