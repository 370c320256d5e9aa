"""Service levels and reputations as protobuf messages."""

from infrafabric.v1 import chassis_slo_pb2 as pb
from infrafabric_server.chassis.reports import ReputationReport, SloReport
from infrafabric_server.chassis.slo import Objective, ObjectiveKind
from infrafabric_server.chassis.standing import Point
from infrafabric_server.edge.times import to_duration, to_timestamp
from infrafabric_server.governor.policy.models import ServiceLevel

KINDS = {
    ObjectiveKind.SUCCESS: pb.SLO_KIND_SUCCESS,
    ObjectiveKind.LATENCY: pb.SLO_KIND_LATENCY,
    ObjectiveKind.AVAILABILITY: pb.SLO_KIND_AVAILABILITY,
}


def slo_to_wire(report: SloReport) -> pb.SloReport:
    """Return how a swarm keeps its service level as a message."""
    message = pb.SloReport(
        swarm_id=report.swarm_id,
        begin_time=to_timestamp(report.counts.time),
        completed_attempts=report.counts.completed,
        failed_attempts=report.counts.failed,
        late_attempts=report.counts.late,
        objectives=[_objective(each, report.level) for each in report.objectives],
        window=to_duration(report.level.window),
    )
    if report.median is not None:
        message.median_latency.CopyFrom(to_duration(report.median))
    if report.p99 is not None:
        message.p99_latency.CopyFrom(to_duration(report.p99))
    return message


def reputation_to_wire(report: ReputationReport) -> pb.Reputation:
    """Return what a swarm is worth as a message."""
    return pb.Reputation(
        swarm_id=report.swarm_id,
        value=report.value,
        ranked_value=report.ranked,
        seen_attempts=report.seen,
        good_attempts=report.good,
        prior=report.settings.prior,
        prior_weight=report.settings.prior_weight,
        half_life=to_duration(report.settings.half_life),
    )


def point_to_wire(point: Point) -> pb.ReputationPoint:
    """Return the reputation at one time as a message."""
    return pb.ReputationPoint(
        time=to_timestamp(point.time), value=point.reputation, seen_attempts=point.seen
    )


def _objective(objective: Objective, level: ServiceLevel) -> pb.SloObjective:
    message = pb.SloObjective(
        kind=KINDS[objective.kind],
        target=objective.target,
        attained=objective.attained,
        error_budget_left=objective.budget_left,
        burn_rate=objective.burn_rate,
        total=objective.total,
        bad=objective.bad,
    )
    if objective.kind is ObjectiveKind.LATENCY and level.p99_latency is not None:
        message.latency_limit.CopyFrom(to_duration(level.p99_latency))
    return message
