"""The calls about money: costs, limits, accounts."""

from infrafabric.v1 import budget_pb2, session_client_pb2
from infrafabric.v1 import governor_budget_pb2 as pb
from infrafabric.v1.governor_service_pb2_grpc import GovernorServiceServicer
from infrafabric_server.edge import paging, validate
from infrafabric_server.edge.calls import Context, Finish
from infrafabric_server.edge.times import to_timestamp
from infrafabric_server.errors import FieldViolation, InvalidField
from infrafabric_server.governor.budget.budgets import BudgetReport, Budgets, Terms
from infrafabric_server.governor.budget.ports import Spent
from infrafabric_server.governor.budget.rules import BudgetState
from infrafabric_server.limits import MAX_MODEL, MAX_MONEY_MICROS
from infrafabric_server.optimise.models import FABRIC, Period, swarm_account

_STATES = {
    BudgetState.UNLIMITED: budget_pb2.BUDGET_STATE_UNLIMITED,
    BudgetState.OPEN: budget_pb2.BUDGET_STATE_OPEN,
    BudgetState.WARNING: budget_pb2.BUDGET_STATE_WARNING,
    BudgetState.EXHAUSTED: budget_pb2.BUDGET_STATE_EXHAUSTED,
}
_PERIODS = {
    None: budget_pb2.BUDGET_PERIOD_UNSPECIFIED,
    Period.HOUR: budget_pb2.BUDGET_PERIOD_HOUR,
    Period.DAY: budget_pb2.BUDGET_PERIOD_DAY,
    Period.WEEK: budget_pb2.BUDGET_PERIOD_WEEK,
    Period.MONTH: budget_pb2.BUDGET_PERIOD_MONTH,
}
_BY_NUMBER = {number: period for period, number in _PERIODS.items()}
_NO_ACCOUNT = "must be given, or task_id, or fabric as true"
_NOT_FABRIC = "must be true, or left out"


class BudgetCalls(GovernorServiceServicer):
    """TrackCost, SetBudget, GetBudgetReport."""

    budgets: Budgets
    finish: Finish

    async def TrackCost(
        self, request: pb.TrackCostRequest, context: Context
    ) -> pb.TrackCostResponse:
        """Charge a cost."""
        swarm_id = validate.require_id("swarm_id", request.swarm_id)
        spent = spent_of("", swarm_id, request)
        request_id = validate.request_id("request_id", request.request_id)
        tracked = await self.finish(self.budgets.track_cost(spent, request_id))
        return pb.TrackCostResponse(
            budget=_report(tracked.budget),
            reservation_left_micros=tracked.left_micros,
            breaker_open=tracked.breaker_open,
        )

    async def SetBudget(
        self, request: pb.SetBudgetRequest, context: Context
    ) -> pb.SetBudgetResponse:
        """Set what an account may spend."""
        terms = _terms(request)
        match request.WhichOneof("account"):
            case "swarm_id":
                swarm_id = validate.require_id("swarm_id", request.swarm_id)
                report = await self.finish(self.budgets.set_limit(swarm_account(swarm_id), terms))
            case "task_id":
                task_id = validate.require_id("task_id", request.task_id)
                _check_task_terms(terms)
                report = await self.finish(self.budgets.limit_task(task_id, terms.limit_micros))
            case "fabric" if request.fabric:
                report = await self.finish(self.budgets.set_limit(FABRIC, terms))
            case "fabric":
                raise InvalidField(FieldViolation("fabric", _NOT_FABRIC))
            case _:
                raise InvalidField(FieldViolation("swarm_id", _NO_ACCOUNT))
        return pb.SetBudgetResponse(budget=_report(report))

    async def GetBudgetReport(
        self, request: pb.GetBudgetReportRequest, context: Context
    ) -> pb.GetBudgetReportResponse:
        """Show accounts."""
        size = validate.page_size(request.page_size)
        position = paging.page_position(request)
        match request.WhichOneof("account"):
            case "swarm_id":
                one = self.budgets.swarm(validate.require_id("swarm_id", request.swarm_id))
            case "task_id":
                one = await self.budgets.task(validate.require_id("task_id", request.task_id))
            case "fabric" if request.fabric:
                one = self.budgets.account(FABRIC)
            case "fabric":
                raise InvalidField(FieldViolation("fabric", _NOT_FABRIC))
            case _:
                found = self.budgets.page(position, size + 1)
                last = found[size - 1].facts.account if len(found) > size else ""
                return pb.GetBudgetReportResponse(
                    budgets=map(_report, found[:size]),
                    next_page_token=paging.next_page_token(request, last),
                )
        return pb.GetBudgetReportResponse(budgets=[_report(one)])


def spent_of(
    prefix: str, swarm_id: str, message: pb.TrackCostRequest | session_client_pb2.CostFrame
) -> Spent:
    """Return the cost that a message reports; `prefix` is the path of its fields."""
    task_id = validate.optional_id(f"{prefix}task_id", message.task_id)
    help_id = validate.optional_id(f"{prefix}help_id", message.help_id)
    if task_id and help_id:
        rule = "must be empty with a task_id: who helps does not hold the task"
        raise InvalidField(FieldViolation(f"{prefix}help_id", rule))
    if task_id:
        validate.require_attempt(f"{prefix}attempt", message.attempt)
    elif message.attempt:
        raise InvalidField(FieldViolation(f"{prefix}attempt", "must be 0 without a task_id"))
    return Spent(
        swarm_id,
        validate.require_operation(f"{prefix}operation", message.operation),
        validate.require_int(f"{prefix}cost_micros", message.cost_micros, 1, MAX_MONEY_MICROS),
        task_id,
        message.attempt,
        help_id,
    )


def _terms(request: pb.SetBudgetRequest) -> Terms:
    limit = None
    if request.HasField("limit_micros"):
        limit = validate.require_money("limit_micros", request.limit_micros)
    if request.period not in _BY_NUMBER:
        raise InvalidField(FieldViolation("period", "must be a known BudgetPeriod"))
    # Not a number is in no range.
    if request.soft_share != 0 and not 0 < request.soft_share <= 1:
        raise InvalidField(FieldViolation("soft_share", "must be above 0 and at most 1, or 0"))
    return Terms(
        limit,
        _BY_NUMBER[request.period],
        validate.require_text("time_zone", request.time_zone, most=MAX_MODEL),
        request.soft_share or None,
    )


def _check_task_terms(terms: Terms) -> None:
    for field, value in (
        ("period", terms.period),
        ("time_zone", terms.time_zone),
        ("soft_share", terms.soft_share),
    ):
        if value:
            raise InvalidField(FieldViolation(field, "must be empty: a task's limit has none"))


def _report(report: BudgetReport) -> budget_pb2.BudgetReport:
    facts = report.facts
    message = budget_pb2.BudgetReport(
        limit_micros=facts.limit_micros,
        spent_micros=facts.spent_micros,
        reserved_micros=facts.reserved_micros,
        available_micros=facts.available_micros,
        total_micros=report.total_micros,
        period=_PERIODS[report.period],
        time_zone=report.time_zone,
        soft_share=report.soft_share,
        state=_STATES[report.state],
    )
    kind, _, id_ = facts.account.partition("/")
    match kind:
        case "swarm":
            message.swarm_id = id_
        case "task":
            message.task_id = id_
        case _:
            message.fabric = True
    if report.period_start is not None and report.renew_time is not None:
        message.period_start_time.CopyFrom(to_timestamp(report.period_start))
        message.renew_time.CopyFrom(to_timestamp(report.renew_time))
    return message
