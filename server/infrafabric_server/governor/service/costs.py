"""What was spent on what."""

from datetime import datetime
from typing import Literal

from google.protobuf.timestamp_pb2 import Timestamp

from infrafabric.v1 import governor_budget_pb2 as pb
from infrafabric.v1.governor_service_pb2_grpc import GovernorServiceServicer
from infrafabric_server.edge import paging, validate
from infrafabric_server.edge.calls import Context
from infrafabric_server.edge.times import from_timestamp, to_timestamp
from infrafabric_server.errors import FieldViolation, InvalidField
from infrafabric_server.optimise.models import Row
from infrafabric_server.optimise.reports import (
    MAX_DIMENSIONS,
    CostReports,
    Dimension,
    Line,
    Question,
)

_DIMENSIONS = {
    pb.COST_DIMENSION_SWARM: Dimension.SWARM,
    pb.COST_DIMENSION_OPERATION: Dimension.OPERATION,
    pb.COST_DIMENSION_MODEL: Dimension.MODEL,
    pb.COST_DIMENSION_TASK: Dimension.TASK,
    pb.COST_DIMENSION_HOUR: Dimension.HOUR,
}


class CostCalls(GovernorServiceServicer):
    """GetCostReport."""

    cost_reports: CostReports

    async def GetCostReport(
        self, request: pb.GetCostReportRequest, context: Context
    ) -> pb.GetCostReportResponse:
        """Show what was spent on what, and what of it was wasted."""
        size = validate.page_size(request.page_size)
        position = paging.page_position(request)
        report = await self.cost_reports.report(_question(request))
        lines = [line for line in report.lines if line.place > position]
        last = lines[size - 1].place if len(lines) > size else ""
        return pb.GetCostReportResponse(
            rows=[_line(line) for line in lines[:size]],
            total=_row(report.total),
            next_page_token=paging.next_page_token(request, last),
        )


def _question(request: pb.GetCostReportRequest) -> Question:
    return Question(
        group_by=_dimensions(request),
        after=_time(request, "after_time"),
        before=_time(request, "before_time"),
        swarm_id=validate.optional_id("swarm_id", request.swarm_id),
        task_id=validate.optional_id("task_id", request.task_id),
    )


def _dimensions(request: pb.GetCostReportRequest) -> frozenset[Dimension]:
    given = list(request.group_by)
    if len(given) > MAX_DIMENSIONS or len(set(given)) < len(given):
        rule = f"must have at most {MAX_DIMENSIONS} entries, each of them once"
        raise InvalidField(FieldViolation("group_by", rule))
    if any(each not in _DIMENSIONS for each in given):
        rule = "each entry must be SWARM, OPERATION, MODEL, TASK or HOUR"
        raise InvalidField(FieldViolation("group_by", rule))
    return frozenset(_DIMENSIONS[each] for each in given)


def _time(
    request: pb.GetCostReportRequest, field: Literal["after_time", "before_time"]
) -> datetime | None:
    if not request.HasField(field):
        return None
    value: Timestamp = getattr(request, field)
    return from_timestamp(field, value)


def _line(line: Line) -> pb.CostRow:
    row = _row(line.row)
    if line.hour is not None:
        row.hour_time.CopyFrom(to_timestamp(line.hour))
    return row


def _row(row: Row) -> pb.CostRow:
    return pb.CostRow(
        swarm_id=row.swarm_id,
        operation=row.operation,
        model=row.model,
        task_id=row.task_id,
        cost_micros=row.micros,
        count=row.count,
        failed_micros=row.failed_micros,
        repeated_micros=row.repeated_micros,
        fenced_micros=row.fenced_micros,
        cheapest_micros=row.cheapest_micros,
    )
